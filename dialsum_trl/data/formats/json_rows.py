"""JSON: an array of rows, one row a line, or an object that holds the array (AI Hub's `data`, NIKL's `document`)."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.formats.row import MAX_CELL, Row

_CHUNK = 1 << 20  # characters
_SPACE = re.compile(r"[\s\ufeff]*")
JSON = (".json", ".jsonl", ".ndjson")  # ends of names
HOLDERS = ("data", "document")  # members of an object that hold its rows
_HOLDER = re.compile(rf'(?<!\\)"(?:{"|".join(HOLDERS)})"\s*:\s*\[\s*\{{')
_DECODE = json.JSONDecoder(parse_constant=lambda name: None).raw_decode  # NaN: a missing value, as NumPy writes it


def json_rows(path: Path, encoding: str) -> Iterator[Row]:
    """Rows with their JSON types; values are read one at a time, whatever the size of the file.

    Raises:
        InputError: it is not JSON, or a row is no object; names row, line and character.
    """
    with path.open(encoding=encoding) as file:
        yield from _Source(path, file).rows()


def with_rows_changed(path: Path, encoding: str, change: Callable[[Row], None]) -> str:
    """The text of a file that `json_rows` reads, with its rows as `change` leaves them; what is around them stays."""
    text = path.read_text(encoding=encoding)
    source, done = _Source(path, io.StringIO(text)), 0
    pieces: list[str] = []
    for row in source.rows():
        change(row)
        start, end = source.span
        pieces += [text[done:start], _like(text, start, end, row.values)]
        done = end
    return "".join([*pieces, text[done:]])


def _like(text: str, start: int, end: int, values: dict) -> str:
    """A row as JSON, on one line or indented as the one at `text[start:end]`."""
    indented = re.search(r"\n([ \t]*)", text[start:end])
    if indented is None:
        return json.dumps(values, ensure_ascii=False)
    margin = re.compile(r"[ \t]*").match(text, text.rfind("\n", 0, start) + 1)[0]
    written = json.dumps(values, ensure_ascii=False, indent=indented[1].removeprefix(margin))
    return written.replace("\n", "\n" + margin)


class _Source:
    """A text of which a piece is in memory, read value by value."""

    def __init__(self, path: Path, file: TextIO):
        self._path, self._file = path, file
        self._text, self._at, self._ended = "", 0, False
        self._line, self._counted, self._number = 1, 0, 0
        self._passed = 0  # characters that have left memory
        self.span = (0, 0)  # of the last row, in characters of the whole text
        self._more()

    def rows(self) -> Iterator[Row]:
        holds = _HOLDER.search(self._text) is not None and self.next_character() == "{"
        while character := self.next_character():
            if character == "[":
                yield from self._elements()
            elif holds:
                yield from self._held()
            else:
                yield self._row()

    def _more(self) -> None:
        """Reads on; what was used leaves memory."""
        self._line_now()
        self._passed += self._at
        self._text, self._at, self._counted = self._text[self._at :], 0, 0
        piece = self._file.read(max(_CHUNK, len(self._text)))
        self._text += piece
        self._ended = not piece

    def _line_now(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def next_character(self) -> str:
        """The next character that is no space, "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._more()

    def _take(self, expected: str) -> str:
        """One of the characters `expected`."""
        if (character := self.next_character()) and character in expected:
            self._at += 1
            return character
        raise self._error(f"Expecting {' or '.join(map(repr, expected))}", self._at)

    def _value(self) -> Any:
        self.next_character()
        while True:
            try:
                value, end = _DECODE(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - 16
                if self._ended or not cut or len(self._text) - self._at > MAX_CELL:
                    raise self._error(error.msg, error.pos) from None
            else:
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            self._more()

    def _error(self, message: str, at: int) -> InputError:
        line = self._line_now() + self._text.count("\n", self._at, at)
        column = at - self._text.rfind("\n", 0, at)
        return InputError(
            f"{self._path}: row {self._number or 1} (line {line}) is not JSON: {message} at character {column}; "
            "export it again"
        )

    def _row(self) -> Row:
        self._number += 1
        self.next_character()
        line, start, value = self._line_now(), self._passed + self._at, self._value()
        self.span = (start, self._passed + self._at)
        if not isinstance(value, dict):
            kind = "array" if isinstance(value, list) else type(value).__name__
            raise InputError(f"{self._path}: row {self._number} (line {line}) is a JSON {kind}; a row is an object")
        return Row(self._number, line, value)

    def _elements(self) -> Iterator[Row]:
        """The rows of an array."""
        self._take("[")
        if self.next_character() == "]":
            self._at += 1
            return
        while True:
            yield self._row()
            if self._take(",]") == "]":
                return

    def _held(self) -> Iterator[Row]:
        """The rows that a member of an object holds; its other members are passed over."""
        self._take("{")
        while True:
            name = self._value()
            self._take(":")
            if name in HOLDERS and self.next_character() == "[":
                yield from self._elements()
            else:
                self._value()
            if self._take(",}") == "}":
                return
