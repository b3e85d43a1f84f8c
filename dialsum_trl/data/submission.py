"""Prediction and submission files: `fname,summary`, in the template's order, never half-written."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_place, check_target, write_text
from dialsum_trl.data.cleaning import unwritable
from dialsum_trl.data.tables import closest, csv_line, name_of, read_table
from dialsum_trl.data.unicode_forms import in_forms_of

# Spreadsheets run cells that start so (the wide forms too, where they are set to Chinese or Japanese). The apostrophe
# before them (OWASP, "CSV Injection") is taken off again when the file is read; cells that already start with
# apostrophes get one more, so that every text survives.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def read_predictions(path: str | Path) -> dict[str, str]:
    """`fname -> summary` in file order, from a CSV or JSONL with the columns `fname` (or `id`) and `summary`.

    The apostrophe that `write_submission` puts before formulas is taken off cells of a CSV.

    Raises:
        InputError: what `tables.read_table` refuses, a missing column, an empty or repeated `fname`.
    """
    predictions: dict[str, str] = {}
    plain = _plain if Path(path).suffix.lower() == ".csv" else str
    for row in read_table(path):
        where = f"{path}: row {row.number} (line {row.line})"
        name = name_of(row.values[_column(where, row.values, "fname", "id")])
        text = row.values[_column(where, row.values, "summary")]
        if not isinstance(name, str) or not isinstance(text, str):
            raise InputError(
                f"{where}: fname and summary are {type(name).__name__} and {type(text).__name__}, not text; "
                "write them in quotes"
            )
        if not name.strip():
            raise InputError(f"{where}, column 'fname': empty; fill it or remove the row")
        name = plain(name.strip())
        if name in predictions:
            raise InputError(f"{where}: '{name}' appears a second time; give every row its own name")
        predictions[name] = plain(text)
    return predictions


def read_aligned(path: str | Path, fnames: list[str]) -> list[str]:
    """The summaries of `read_predictions` in the order of `fnames`; ids missing or left over are an InputError.

    Ids that differ in their Unicode form alone are the same.
    """
    predictions = read_predictions(path)
    names = in_forms_of(fnames, predictions)
    _check_ids(path, names, "the rows", list(fnames))
    texts = dict(zip(names, predictions.values(), strict=True))
    return [texts[name] for name in fnames]


def write_submission(
    path: str | Path, fnames: list[str], summaries: list[str], template: str | Path | None = None
) -> None:
    """Writes `fname,summary` aside and renames it; cells that a spreadsheet would run get an apostrophe before them.

    Args:
        template: sample submission. Its rows decide the order, its columns and their values (an unnamed index column
            too) are kept, and its ids must be exactly `fnames`. Without one the rows come in the order given.

    Raises:
        InputError: lengths that differ, a repeated id, ids that the template lacks or has in addition, text that
            UTF-8 cannot hold, a place where no file can come (`files.check_place`).
    """
    path = Path(path)
    fnames, summaries = list(fnames), list(summaries)
    if len(fnames) != len(summaries):
        raise InputError(f"{len(summaries)} summaries for {len(fnames)} ids; give one per row")
    repeated = [name for name, count in Counter(fnames).items() if count > 1]
    if repeated:
        raise InputError(f"ids appear twice: {_some(repeated)}; give every row its own")
    check_place(path)
    if template is None:
        rows = [{"fname": name, "summary": ""} for name in fnames]
        id_column = "fname"
    else:
        rows, id_column = _template_rows(template)
        fnames = in_forms_of((row[id_column] for row in rows), fnames)
        _check_ids("the summaries", fnames, template, [row[id_column] for row in rows])
    # byte-level vocabularies can spell a NUL, and no reader takes a file that holds one
    texts = {name: text.replace("\0", "") for name, text in zip(fnames, summaries, strict=True)}
    broken = [name for name, text in texts.items() if unwritable(text)]
    if broken:
        raise InputError(f"the summary of {_some(broken)} holds half a surrogate pair, which UTF-8 cannot write")

    lines = [_header(rows) if rows else "fname,summary\n"]
    for row in rows:
        others = {name: cell if _NUMBER.fullmatch(cell) else _neutral(cell) for name, cell in row.items()}
        name = row[id_column]
        lines.append(csv_line({**others, id_column: _neutral(name), "summary": _neutral(texts[name])}.values()))
    write_text(path, "".join(lines))
    for count, what in (
        (sum(not text.strip() for text in summaries), "are empty"),
        (sum("\0" in text for text in summaries), "held a NUL byte: it was left out"),
        (sum(_neutral(text) != text for text in summaries), "start like a spreadsheet formula: ' put before them"),
        (sum(_neutral(name) != name for name in fnames), "have an id like a spreadsheet formula: ' put before it"),
    ):
        if count:
            say(f"{path}: {count} of {len(summaries)} summaries {what}")


def check_output(
    path: str | Path, flag: str, sources: Iterable[str | Path | None], template: str | Path | None = None
) -> None:
    """Refuses a place for `write_submission` before anything is computed: no .csv, or a file that is something else.

    Args:
        flag: what the user gave `path` with.
        sources: files that the command reads, as for `files.check_target`.
        template: as for `write_submission`; a submission that exists may have its columns.

    Raises:
        InputError: as described.
    """
    path = Path(path)
    check_target(path, flag, [*sources, template])
    if path.suffix.lower() != ".csv":
        raise InputError(f"{flag} {path}: a submission is a .csv file; name one")
    if not path.exists():
        return
    with path.open("rb") as file:
        header = file.readline(1000).decode("utf-8-sig", "replace").strip()
    ours = {"", "fname,summary"}  # "": an empty file
    if template is not None:
        ours.add(_header(_template_rows(template)[0]).strip())
    if header not in ours:
        raise InputError(
            f"{flag} {path}: exists and is no submission (its first line is {header[:60]!r}); nothing else is "
            "overwritten, give a new name"
        )


def check_template(template: str | Path | None, fnames: list[str]) -> None:
    """Raises InputError unless a template (None: there is none) can be read and has the ids `fnames`."""
    if template is not None:
        rows, id_column = _template_rows(template)
        expected = [row[id_column] for row in rows]
        _check_ids("the rows", in_forms_of(expected, fnames), template, expected)


def _column(where: str, present: Iterable[str], *names: str) -> str:
    for name in names:
        if name in present:
            return name
    near = closest(names[0], present)
    there = ", ".join(f"'{name}'" for name in present if name.strip())
    hint = f"rename '{near}'" if near else "name its columns fname,summary"
    raise InputError(f"{where}: no column '{names[0]}'; there are {there}; {hint}")


def _template_rows(template: str | Path) -> tuple[list[dict[str, str]], str]:
    """The rows of a template, and the column that holds their ids."""
    if Path(template).suffix.lower() == ".jsonl":
        raise InputError(f"{template}: a submission template is a .csv file with the columns fname,summary")
    rows, seen = [], set()
    for row in read_table(template, keep_unnamed=True):
        where = f"{template}: row {row.number} (line {row.line})"
        id_column = _column(where, row.values, "fname", "id")
        _column(where, row.values, "summary")
        values = {name: _plain(cell) for name, cell in row.values.items()}
        if not values[id_column].strip():
            raise InputError(f"{where}, column '{id_column}': empty; fill it or remove the row")
        if values[id_column] in seen:
            raise InputError(f"{where}: '{values[id_column]}' appears a second time in the template")
        seen.add(values[id_column])
        rows.append(values)
    return rows, id_column


def _header(rows: list[dict[str, str]]) -> str:
    return csv_line(_neutral(name.strip()) for name in rows[0])


def _check_ids(what: str | Path, names: list[str], where: str | Path, expected: list[str]) -> None:
    present = set(names)
    missing, extra = [name for name in expected if name not in present], sorted(present - set(expected))
    problems = [f"{len(missing)} ids are missing: {_some(missing)}"] if missing else []
    problems += [f"{len(extra)} ids are not known there: {_some(extra)}"] if extra else []
    if problems:
        raise InputError(f"{what} do not fit {where}: {'; '.join(problems)}; are they of the same test file?")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _neutral(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _plain(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
