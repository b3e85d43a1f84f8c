"""`dialsum convert`: a file of rows in any format and layout, as plain columns in another file."""

from collections.abc import Iterator
from pathlib import Path

from dialsum_trl.cli.printing import said_before
from dialsum_trl.core.console import say
from dialsum_trl.data.dialogues import REFERENCES, iter_rows
from dialsum_trl.data.writing import check_new_file, write_rows


def convert_file(source: str, output: Path, columns: dict[str, str]) -> int:
    """Writes `fname`, `dialogue` (cleaned), `summary` (or `summary1` ..) and `topic`, and returns the number of rows.

    Args:
        source: as for `data.read_dialogues`.
        output: a new file; its suffix is its format (`data.writing`).
        columns: role -> column, as for `data.read_dialogues`.

    Raises:
        InputError: the source cannot be read, or the output exists or cannot be written.
    """
    check_new_file(output, "output")
    most, topics = 0, False
    for row in iter_rows(source, columns=columns, require_summary=False):  # once for the columns, once for the rows
        most, topics = max(most, len(row["summaries"])), topics or bool(row["topic"])
    references = ["summary"] if most == 1 else list(REFERENCES[:most])
    names = ["fname", "dialogue", *references, *(["topic"] if topics else [])]

    def flat() -> Iterator[dict]:
        for row in iter_rows(source, columns=columns, require_summary=False):
            values = row | dict(zip(references, row["summaries"], strict=False))
            yield {name: values.get(name) for name in names}

    with said_before():
        written = write_rows(output, names, flat(), texts=True)
    say(f"{output}: {written:,} rows of {source}; columns {', '.join(names)}; dialogues cleaned, summaries untouched")
    return written
