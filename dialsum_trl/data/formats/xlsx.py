"""Excel workbooks: the first sheet that holds a table. Needs openpyxl (the extra `xlsx`)."""

import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.formats.row import Row, header_names


def xlsx_rows(path: Path, keep_unnamed: bool = False) -> Iterator[Row]:
    """Rows of texts; numbers and dates become what they look like, empty rows are passed over.

    The names of the columns are the first row of two cells and more: a title over the table is none. Unnamed columns
    are left out, or kept with `keep_unnamed` (`row.header_names`).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise InputError(f"{path}: a damaged zip file or workbook; export it again") from None
    if "content.xml" in names:
        raise InputError(f"{path}: is an OpenDocument file; save it as .xlsx or .csv")
    if "xl/workbook.xml" not in names:
        raise InputError(f"{path}: a zip file that is no Excel workbook; unpack it and give the file in it")
    package = openpyxl(path)
    try:
        yield from _sheet_rows(path, package.load_workbook(path, read_only=True, data_only=True), keep_unnamed)
    except InputError:
        raise
    except Exception as error:  # on damaged files openpyxl raises what zip files, XML and Python do
        raise InputError(f"{path}: a damaged workbook ({' '.join(str(error).split())[:100]}); save it again") from None


def _sheet_rows(path: Path, workbook: Any, keep_unnamed: bool) -> Iterator[Row]:
    try:
        sheets = workbook.worksheets
        tables = (sheet for sheet in sheets if len(list(islice(_table(sheet), 2))) == 2)
        if (sheet := next(tables, None)) is None:
            return
        if len(sheets) > 1:
            say(f"{path}: of {len(sheets)} sheets {sheet.title!r} is read")
        header: list[str] | None = None
        for number, (line, texts) in enumerate(_table(sheet)):
            if header is None:
                header = header_names(f"{path}: line {line}", texts)
                continue
            named = zip(header, texts + [""] * (len(header) - len(texts)), strict=False)
            yield Row(number, line, {name: text for name, text in named if name.strip() or keep_unnamed})
    finally:
        workbook.close()


def _table(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Line and texts of the header and of the rows below it."""
    lines = ((line, list(map(_text, cells))) for line, cells in enumerate(sheet.iter_rows(values_only=True), start=1))
    filled = ((line, texts) for line, texts in lines if any(text.strip() for text in texts))
    single = []  # a title, or a table of one column
    for line, texts in filled:
        if sum(bool(text.strip()) for text in texts) > 1:
            yield line, texts
            yield from filled
            return
        single.append((line, texts))
    yield from single


def openpyxl(path: Path) -> Any:
    """The package, or one line that says how to get it."""
    try:
        import openpyxl as package  # optional
    except ImportError:
        raise InputError(f'{path}: Excel files need openpyxl: pip install "dialsum-trl[xlsx]"') from None
    return package


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
