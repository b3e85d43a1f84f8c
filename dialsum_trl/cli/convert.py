"""`dialsum convert`: a file of rows in any format and layout, as plain columns in another file."""

from pathlib import Path

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
    rows = list(iter_rows(source, columns=columns, require_summary=False))
    most = max(len(row["summaries"]) for row in rows)
    references = ["summary"] if most == 1 else list(REFERENCES[:most])
    names = ["fname", "dialogue", *references, *(["topic"] if any(row["topic"] for row in rows) else [])]
    flat = [
        {**row, **dict.fromkeys(references), **dict(zip(references, row["summaries"], strict=False))} for row in rows
    ]
    written = write_rows(output, names, ({name: row[name] for name in names} for row in flat))
    say(f"{output}: {written:,} rows of {source}; columns {', '.join(names)}; dialogues cleaned, summaries untouched")
    return written
