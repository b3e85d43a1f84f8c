"""Excel workbooks: the first sheet, its first row as names. Needs openpyxl (the extra `xlsx`)."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.formats.row import Row, header_names


def xlsx_rows(path: Path, keep_unnamed: bool = False) -> Iterator[Row]:
    """Rows of texts; numbers and dates become what they look like, empty rows are passed over.

    Unnamed columns are left out, or kept with `keep_unnamed` (`row.header_names`).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            is_workbook = "xl/workbook.xml" in archive.namelist()
    except zipfile.BadZipFile:
        raise InputError(f"{path}: a damaged zip file or workbook; export it again") from None
    if not is_workbook:
        raise InputError(f"{path}: a zip file that is no Excel workbook; unpack it and give the file in it")
    workbook = openpyxl(path).load_workbook(path, read_only=True, data_only=True)
    try:
        sheet, *others = workbook.worksheets
        if others:
            say(f"{path}: the first of {1 + len(others)} sheets is read, {sheet.title!r}")
        header: list[str] | None = None
        number = 0
        for line, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
            texts = [_text(cell) for cell in cells]
            if not any(text.strip() for text in texts):
                continue
            if header is None:
                header = header_names(f"{path}: line {line}", texts)
                continue
            number += 1
            named = zip(header, texts + [""] * (len(header) - len(texts)), strict=False)
            yield Row(number, line, {name: text for name, text in named if name.strip() or keep_unnamed})
    finally:
        workbook.close()


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
