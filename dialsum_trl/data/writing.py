"""Rows out: CSV, TSV, JSON, JSONL, Parquet or Excel, by the name of the file; whole or absent."""

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_place, check_writable, written_aside
from dialsum_trl.data.cleaning import unwritable
from dialsum_trl.data.formats.xlsx import openpyxl
from dialsum_trl.data.tables import csv_line

DELIMITER = {".csv": ",", ".tsv": "\t"}
WRITTEN = (*DELIMITER, ".json", ".jsonl", ".parquet", ".xlsx")
_XLSX_CELL = 32_767  # characters
_GROUP = 1000  # rows of a Parquet file that are written together


def check_new_file(path: Path, flag: str) -> None:
    """Raises InputError unless a new file of rows can come to `path`; `flag` is what the user gave it with."""
    if path.suffix.lower() not in WRITTEN:
        raise InputError(f"{flag} {path}: give a name that ends with {', '.join(WRITTEN[:-1])} or {WRITTEN[-1]}")
    if path.exists():
        raise InputError(f"{flag} {path}: exists; nothing is overwritten, give a new name")
    if path.suffix.lower() == ".xlsx":
        openpyxl(path)
    check_place(path)
    check_writable(path, flag)


def write_rows(path: Path, names: Sequence[str], rows: Iterable[dict], texts: bool = False) -> int:
    """Writes rows in the format of the suffix (`WRITTEN`) and returns their number.

    Args:
        names: the columns. In CSV, TSV and Excel a row without one has an empty cell there, and a value that is no
            text is written as JSON; the other formats keep types.
        texts: all values are texts or None. Parquet is written as the rows come then, like all formats but Excel, which
            keeps every text in memory.

    Raises:
        InputError: a value holds a NUL or half a surrogate pair, or is too long for an Excel cell.
    """
    suffix = path.suffix.lower()
    with written_aside(path) as partial:
        if suffix == ".parquet":
            return _write_parquet(partial, path, names, rows, texts)
        if suffix == ".xlsx":
            return _write_xlsx(partial, path, names, rows)
        return _write_text(partial, path, suffix, names, rows)


def cell_text(value: object) -> str:
    """A JSON value as the text of a cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _checked(path: Path, text: str) -> str:
    if unwritable(text):
        raise InputError(f"{path}: not written, a row holds a NUL or half a surrogate pair; remove it there first")
    return text


def _write_text(partial: Path, path: Path, suffix: str, names: Sequence[str], rows: Iterable[dict]) -> int:
    count = 0
    with partial.open("w", encoding="utf-8", newline="") as file:
        if suffix in DELIMITER:
            file.write(_checked(path, csv_line(names, DELIMITER[suffix])))
        for count, row in enumerate(rows, start=1):
            if suffix in DELIMITER:
                line = csv_line((cell_text(row.get(name)) for name in names), DELIMITER[suffix])
            else:
                line = json.dumps(row, ensure_ascii=False)
                line = line + "\n" if suffix == ".jsonl" else f"{'[' if count == 1 else ','}\n{line}"
            file.write(_checked(path, line))
        if suffix == ".json":
            file.write("\n]\n" if count else "[]\n")
    return count


def _write_xlsx(partial: Path, path: Path, names: Sequence[str], rows: Iterable[dict]) -> int:
    package = openpyxl(path)
    from openpyxl.cell import WriteOnlyCell  # optional, and there

    workbook = package.Workbook(write_only=True)
    sheet, count = workbook.create_sheet("rows"), 0

    def text_cell(value: object) -> WriteOnlyCell:
        text = _checked(path, cell_text(value))
        if len(text) > _XLSX_CELL:
            raise InputError(f"{path}: a text has {len(text):,} characters, an Excel cell {_XLSX_CELL:,}; write a .csv")
        try:
            cell = WriteOnlyCell(sheet, text)
        except package.utils.exceptions.IllegalCharacterError:
            raise InputError(f"{path}: a control character, which Excel cannot hold; write a .csv") from None
        cell.data_type = "s"  # also where it looks like a formula
        return cell

    sheet.append([text_cell(name) for name in names])
    for row in rows:
        count += 1
        sheet.append([text_cell(row.get(name)) for name in names])
    workbook.save(partial)
    return count


def _write_parquet(partial: Path, path: Path, names: Sequence[str], rows: Iterable[dict], texts: bool) -> int:
    import pyarrow  # as in `formats.parquet`
    from pyarrow.parquet import ParquetWriter

    content = ({name: row.get(name) for name in names} for row in rows)
    first = list(islice(content, _GROUP if texts else None))
    schema = pyarrow.schema([(name, pyarrow.string()) for name in names]) if texts else None
    group, count = pyarrow.Table.from_pylist(first, schema), 0
    with ParquetWriter(partial, group.schema) as writer:
        while first:
            for row in first:
                _checked(path, "".join(map(cell_text, row.values())))
            writer.write_table(group)
            count += len(first)
            first = list(islice(content, _GROUP))
            group = pyarrow.Table.from_pylist(first, group.schema)
    return count
