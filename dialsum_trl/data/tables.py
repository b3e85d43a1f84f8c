"""Rows of a file, streamed, each with its place in the file; what cannot be read is one clear error.

The format is found by a file's content, not by its name. And lines of a CSV that can be read again.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.formats.delimited import delimited_rows
from dialsum_trl.data.formats.encoding import encoding_of, text_lines
from dialsum_trl.data.formats.json_rows import JSON, json_rows
from dialsum_trl.data.formats.parquet import parquet_rows
from dialsum_trl.data.formats.row import Row
from dialsum_trl.data.formats.xlsx import xlsx_rows
from dialsum_trl.data.unicode_forms import other_form

_UNREADABLE = {  # by how they begin
    b"\x1f\x8b": "is compressed; unpack it (gunzip) and give the file in it",
    b"\xd0\xcf\x11\xe0": "is an Excel file of before 2007, or has a password; save it as .xlsx or .csv without one",
    b"%PDF": "is a PDF; give its rows as .csv, .xlsx or .jsonl",
    b"\x80\x04": "is a pickle; save its rows as .parquet or .jsonl",
    b"\x80\x05": "is a pickle; save its rows as .parquet or .jsonl",
    b"ARROW1": "is an Arrow file; save it as Parquet",
}


def read_table(path: str | Path, keep_unnamed: bool = False) -> Iterator[Row]:
    """Streams the rows of a CSV, TSV, JSON, JSONL, Parquet or Excel file.

    Args:
        keep_unnamed: whether columns without a name, such as the index that pandas writes, are kept.
    """
    path = Path(path)
    _check_path(path)
    empty = True
    for row in _rows(path, keep_unnamed):
        empty = False
        yield row
    if empty:
        raise InputError(f"{path} has no data rows; check that the export finished")


def _rows(path: Path, keep_unnamed: bool) -> Iterator[Row]:
    start = first_bytes(path)
    for beginning, what in _UNREADABLE.items():
        if start.startswith(beginning):
            raise InputError(f"{path}: {what}")
    if start.startswith(b"PAR1"):
        return parquet_rows(path)
    if start.startswith(b"PK\x03\x04"):
        return xlsx_rows(path, keep_unnamed)
    encoding = encoding_of(path)
    if path.suffix.lower() in JSON or is_json(path, encoding):
        return json_rows(path, encoding)
    return delimited_rows(path, encoding, keep_unnamed)


def first_bytes(path: Path) -> bytes:
    """The first 8 bytes of a file."""
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from None


def is_json(path: Path, encoding: str) -> bool:
    """Whether the text begins as JSON does: with an object, or with an array of them."""
    start = next((text.lstrip() for _, text in text_lines(path, encoding) if text.strip()), "")
    return re.match(r'\{\s*("|\}|$)|\[\s*(\{|$)', start) is not None


def name_of(value: object) -> object:
    """A row's name as text where it is a whole number, as pandas writes it into JSONL; anything else as it is."""
    return str(value) if type(value) is int else value


def csv_line(cells: Iterable[str], delimiter: str = ",") -> str:
    """One line of a CSV, ended by LF.

    Python's csv.writer (before 3.13) leaves a lone CR unquoted when lines end with LF, and then nobody can read it.
    """
    special = re.compile(f'[{re.escape(delimiter)}"\r\n]')
    quoted = ('"' + cell.replace('"', '""') + '"' if special.search(cell) else cell for cell in cells)
    return delimiter.join(quoted) + "\n"


def _check_path(path: Path) -> None:
    """Raises InputError where `path` is a folder, or nothing."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file in it")
    if path.exists():
        return
    siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    if near := other_form(path.name, siblings):
        raise InputError(
            f"{path} does not exist, but {near} there does, the same name in another Unicode form (NFC or NFD, as "
            "macOS writes it); take it by the Tab key, or rename the file"
        )
    near = closest(path.name, siblings)
    raise InputError(f"{path} does not exist{f'; did you mean {path.with_name(near)}?' if near else ''}")


def closest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` was most likely meant to be, ignoring case, or None."""
    by_lower = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
