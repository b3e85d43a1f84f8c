"""Prediction and submission files: `fname,summary`, in the template's order, never half-written."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_place, check_target, write_text
from dialsum_trl.data.cleaning import unwritable
from dialsum_trl.data.dialogues import likely_column
from dialsum_trl.data.formats.encoding import encoding_of
from dialsum_trl.data.formats.json_rows import JSON, with_rows_changed
from dialsum_trl.data.formats.row import Row
from dialsum_trl.data.layouts import flat, is_nikl
from dialsum_trl.data.tables import closest, csv_line, name_of, read_table
from dialsum_trl.data.unicode_forms import in_forms_of
from dialsum_trl.data.writing import DELIMITER, write_rows

# Spreadsheets run cells that start so (the wide forms too, where they are set to Chinese or Japanese). The apostrophe
# before them (OWASP, "CSV Injection") is taken off again when the file is read; cells that already start with
# apostrophes get one more, so that every text survives.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def read_predictions(path: str | Path) -> dict[str, str]:
    """`fname -> summary` in file order, from a file with columns of ids and of summaries, or in NIKL's layout.

    The apostrophe that `write_submission` puts before formulas is taken off cells of a CSV and a TSV.

    Raises:
        InputError: what `tables.read_table` refuses, a missing column, an empty or repeated `fname`.
    """
    predictions: dict[str, str] = {}
    plain = _plain if Path(path).suffix.lower() in DELIMITER else str
    for row in read_table(path):
        where = f"{path}: {row.place}"
        values, _ = flat(row.values)
        name = name_of(values[_column(where, values, "fname")])
        text = values[_column(where, values, "summary")]
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
            too) are kept, and its ids must be exactly `fnames`. Without one the rows come in the order given. A
            template that is no CSV is filled in its own format beside `path`, under the same name with its suffix:
            JSON and JSONL in NIKL's layout get `output` and stay as they are otherwise.

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
    rows = [{"fname": name, "summary": ""} for name in fnames]
    id_column, text_column = "fname", "summary"
    if template is not None:
        expected = _template_ids(template)
        fnames = in_forms_of(expected, fnames)
        _check_ids("the summaries", fnames, template, expected)
        if not _is_json(template):
            rows, id_column, text_column = _template_rows(template)
        else:
            rows = [{"fname": name, "summary": ""} for name in expected]
    # byte-level vocabularies can spell a NUL, and no reader takes a file that holds one
    texts = {name: text.replace("\0", "") for name, text in zip(fnames, summaries, strict=True)}
    broken = [name for name, text in texts.items() if unwritable(text)]
    if broken:
        raise InputError(f"the summary of {_some(broken)} holds half a surrogate pair, which UTF-8 cannot write")

    lines = [_header(rows) if rows else "fname,summary\n"]
    for row in rows:
        others = {name: cell if _NUMBER.fullmatch(cell) else _neutral(cell) for name, cell in row.items()}
        name = row[id_column]
        lines.append(csv_line({**others, id_column: _neutral(name), text_column: _neutral(texts[name])}.values()))
    write_text(path, "".join(lines))
    if template is not None and (suffix := Path(template).suffix.lower()) != path.suffix:
        beside = path.with_suffix(suffix)
        if _is_json(template):
            _fill_json(Path(template), beside, texts)
        else:
            filled = [{**row, text_column: texts[row[id_column]]} for row in rows]
            write_rows(beside, list(rows[0]), filled)
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
        expected = _template_ids(template)
        _check_ids("the rows", in_forms_of(expected, fnames), template, expected)


def _column(where: str, present: Iterable[str], role: str) -> str:
    if (name := likely_column(role, list(present))) is not None:
        return name
    near = closest(role, present)
    there = ", ".join(f"'{name}'" for name in present if name.strip())
    hint = f"rename '{near}'" if near else "name its columns fname,summary"
    raise InputError(f"{where}: no column '{role}'; there are {there}; {hint}")


def _is_json(path: str | Path) -> bool:
    return Path(path).suffix.lower() in JSON


def in_nikl_layout(path: str | Path) -> bool:
    """Whether it is a JSON file in NIKL's layout, whose submission is the file with `output` filled in."""
    return _is_json(path) and is_nikl(next(read_table(path)).values)


def _template_ids(template: str | Path) -> list[str]:
    if not _is_json(template):
        rows, id_column, _ = _template_rows(template)
        return [row[id_column] for row in rows]
    return [_json_id(f"{template}: {row.place}", row.number, row.values) for row in read_table(template)]


def _json_id(where: str, number: int, values: dict) -> str:
    """The id of a row as `dialogues.named_rows` names it."""
    column = likely_column("fname", list(values))
    name = str(number - 1) if column is None else name_of(values[column])
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}, column '{column}': no text; write it in quotes")
    return name.strip()


def _fill_json(template: Path, path: Path, texts: dict[str, str]) -> None:
    """The template with each row's summary in it (`output` in NIKL's layout); all else stays as it is."""

    def fill(row: Row) -> None:
        values = row.values
        column = "output" if is_nikl(values) else likely_column("summary", list(values)) or "summary"
        values[column] = texts[_json_id(f"{template}: {row.place}", row.number, values)]

    write_text(path, with_rows_changed(template, encoding_of(template), fill))


def _template_rows(template: str | Path) -> tuple[list[dict[str, str]], str, str]:
    """The rows of a template, and its columns of ids and of summaries."""
    rows, seen = [], set()
    for row in read_table(template, keep_unnamed=True):
        where = f"{template}: {row.place}"
        id_column = _column(where, row.values, "fname")
        text_column = _column(where, row.values, "summary")
        values = {name: _plain(cell) for name, cell in row.values.items()}
        if not values[id_column].strip():
            raise InputError(f"{where}, column '{id_column}': empty; fill it or remove the row")
        if values[id_column] in seen:
            raise InputError(f"{where}: '{values[id_column]}' appears a second time in the template")
        seen.add(values[id_column])
        rows.append(values)
    return rows, id_column, text_column


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
