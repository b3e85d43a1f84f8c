"""Rows of a CSV or JSONL file, streamed, each with its place in the file; what cannot be read is one clear error.

And lines of a CSV that can be read again.
"""

import csv
import difflib
import json
import re
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.unicode_forms import other_form

MAX_CELL = 10_000_000  # characters; a longer cell is an unclosed quote or a file of another kind
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # its byte order marks


class Row(NamedTuple):
    """One data row. `number` counts data rows from 1; `line` is the line of the file on which the row starts."""

    number: int
    line: int
    values: dict


def read_table(path: str | Path, keep_unnamed: bool = False) -> Iterator[Row]:
    """Streams the rows of a `.csv` (comma, double quotes, header line) or `.jsonl` file in UTF-8.

    CSV cells may hold line breaks; byte order marks, CRLF and blank lines are accepted. An unnamed column, such as
    the index that pandas writes, is left out, or kept with `keep_unnamed`, under "", the next under " ", and so on:
    names that no other column has, and that `str.strip` makes what they were.
    JSONL values keep their JSON type.

    Raises:
        InputError: the path is missing or a folder, the file is empty or has no rows, a byte is not UTF-8, there is
            a NUL byte, a row has too few or too many cells, a quote is never closed, a line is not a JSON object.
    """
    path = Path(path)
    _check_path(path)
    if path.suffix.lower() == ".csv":
        return _not_empty(path, _csv_rows(path, keep_unnamed))
    if path.suffix.lower() == ".jsonl":
        return _not_empty(path, _jsonl_rows(path))
    raise InputError(f"{path}: cannot read '{path.suffix}' files; save it as .csv or .jsonl (UTF-8)")


def name_of(value: object) -> object:
    """A row's name as text where it is a whole number, as pandas writes it into JSONL; anything else as it is."""
    return str(value) if type(value) is int else value


def is_utf16(content: bytes) -> bool:
    """Whether it starts with the byte order mark of UTF-16, as files that Windows calls Unicode do."""
    return content[:2] in _UTF16


def csv_line(cells: Iterable[str]) -> str:
    """One line of a CSV, ended by LF.

    Python's csv.writer (before 3.13) leaves a lone CR unquoted when lines end with LF, and then nobody can read it.
    """
    quoted = ('"' + cell.replace('"', '""') + '"' if re.search('[",\r\n]', cell) else cell for cell in cells)
    return ",".join(quoted) + "\n"


def _check_path(path: Path) -> None:
    """Raises InputError where `path` is a folder, or nothing."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the .csv or .jsonl file in it")
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


def _not_empty(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty:
        raise InputError(f"{path} has no data rows; check that the export finished")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines as text with their line endings, numbered from 1; one line in memory at a time."""
    offset = 0
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from None
    with file:
        for number, raw in enumerate(file, start=1):
            if number == 1 and is_utf16(raw):
                raise InputError(f"{path} is UTF-16; convert it: {_iconv('UTF-16', path)}")
            yield number, _decode(path, number, offset, raw)
            offset += len(raw)


def _decode(path: Path, number: int, offset: int, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: line {number}, byte {offset + error.start} (0x{raw[error.start]:02x}) is not UTF-8; if the file "
            f"was saved by Excel or on Windows, convert it: {_iconv('cp949', path)}"
        ) from None
    if number == 1:
        text = text.lstrip("\ufeff")  # there are two where a file with one was saved with one again
    if "\0" in text:
        raise InputError(
            f"{path}: line {number} holds a NUL byte, so this is not a text file or it is damaged; export it again, "
            f"or remove them: tr -d '\\000' < {path} > fixed{path.suffix}"
        )
    return text


def _iconv(encoding: str, path: Path) -> str:
    return f"iconv -f {encoding} -t utf-8 {path} > utf8{path.suffix}"


def _csv_rows(path: Path, keep_unnamed: bool) -> Iterator[Row]:
    # The limit is global to the process: raised, never lowered, for whoever else reads CSV.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    reader = csv.reader((text for _, text in _lines(path)), strict=True)
    header = None
    number = 0
    while True:
        start = reader.line_num + 1
        where = f"{path}: row {number + 1} (line {start})" if header else f"{path}: the header (line {start})"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{where}{_csv_problem(str(error))}") from None
        if cells is None:
            break
        if not cells:
            continue
        if header is None:
            header = _checked_header(path, start, cells)
            continue
        number += 1
        if len(cells) != len(header):
            raise InputError(
                f"{where} has {len(cells)} cells, the header has {len(header)}; "
                "put double quotes around cells that hold commas or line breaks"
            )
        named = zip(header, cells, strict=True)
        yield Row(number, start, {name: cell for name, cell in named if name.strip() or keep_unnamed})
    if header is None:
        raise InputError(f"{path} is empty; it needs a header line such as fname,dialogue,summary,topic")


def _checked_header(path: Path, line: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if re.fullmatch("sep=[,;]?", ",".join(header), re.IGNORECASE):
        raise InputError(f"{path}: line {line} is Excel's '{','.join(header)}'; remove this line")
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: line {line} names column '{repeated[0]}' twice; rename one of them")
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise InputError(f"{path}: line {line} is separated by {word}; save the file with commas")
    unnamed = count()
    return [name or " " * next(unnamed) for name in header]


def _csv_problem(message: str) -> str:
    if "field larger" in message:
        return f" has a cell of more than {MAX_CELL:,} characters; a double quote before it was probably never closed"
    if "unexpected end of data" in message:
        return ": a double quote opened in this row is never closed; close it, or double the quotes inside a cell"
    if "expected after" in message:
        return ': text follows a closing double quote; double the quotes inside a cell ("")'
    if "new-line character" in message:
        return ": a bare carriage return outside quotes; convert the line endings (sed 's/\\r/\\n/g') or quote the cell"
    return f": {message}"


def _jsonl_rows(path: Path) -> Iterator[Row]:
    number = 0
    for line, text in _lines(path):
        if not text.strip():
            continue
        number += 1
        where = f"{path}: row {number} (line {line})"
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            hint = "; is this one JSON array? write one object per line" if text.lstrip()[0] == "[" else ""
            raise InputError(f"{where} is not JSON: {error.msg} at character {error.colno}{hint}") from None
        if not isinstance(values, dict):
            kind = "array" if isinstance(values, list) else type(values).__name__
            raise InputError(f"{where} is a JSON {kind}; write one object per line")
        yield Row(number, line, values)
