"""CSV, TSV and files with semicolons or bars: a header line, double quotes, cells of several lines."""

import csv
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.formats.encoding import text_lines
from dialsum_trl.data.formats.row import MAX_CELL, Row, header_names

DELIMITERS = (",", "\t", ";", "|")
_EXCELS_LINE = re.compile(r'"?sep=(.?)"?\s*', re.IGNORECASE)


def delimited_rows(path: Path, encoding: str, keep_unnamed: bool = False) -> Iterator[Row]:
    """Rows as texts; the delimiter is the one that parts the header into most names, or that of Excel's `sep=` line.

    An unnamed column, such as the index that pandas writes, is left out, or kept with `keep_unnamed`
    (`row.header_names`).

    Raises:
        InputError: no header, a column named twice, a row with too few or too many cells, a quote never closed.
    """
    # The limit is global to the process: raised, never lowered, for whoever else reads CSV.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    lines = text_lines(path, encoding)
    filled = ((number, text) for number, text in lines if text.strip())
    first_line, first = next(filled, (0, ""))
    delimiter = None
    if found := _EXCELS_LINE.fullmatch(first):
        delimiter = found[1] or ","
        first_line, first = next(filled, (0, ""))
    if not first:
        raise InputError(f"{path} is empty; it needs a header line such as fname,dialogue,summary,topic")
    names = first.partition("\r")[0]  # a bare CR is refused below
    delimiter = delimiter or max(DELIMITERS, key=lambda each: len(next(csv.reader([names], delimiter=each))))
    reader = csv.reader(chain([first], (text for _, text in lines)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        start = reader.line_num + first_line
        where = f"{path}: row {number + 1} (line {start})" if header else f"{path}: the header (line {start})"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{where}{_problem(str(error))}") from None
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = header_names(f"{path}: line {start}", cells)
            continue
        number += 1
        if len(cells) != len(header):
            raise InputError(
                f"{where} has {len(cells)} cells, the header has {len(header)}; "
                "put double quotes around cells that hold the delimiter or line breaks"
            )
        named = zip(header, cells, strict=True)
        yield Row(number, start, {name: cell for name, cell in named if name.strip() or keep_unnamed})


def _problem(message: str) -> str:
    if "field larger" in message:
        return f" has a cell of more than {MAX_CELL:,} characters; a double quote before it was probably never closed"
    if "unexpected end of data" in message:
        return ": a double quote opened in this row is never closed; close it, or double the quotes inside a cell"
    if "expected after" in message:
        return ': text follows a closing double quote; double the quotes inside a cell ("")'
    if "new-line character" in message:
        return ": a bare carriage return outside quotes; convert the line endings (sed 's/\\r/\\n/g') or quote the cell"
    return f": {message}"
