"""JSON: an array of rows, one row a line, or an object that holds the array (AI Hub's `data`, NIKL's `document`)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.formats.row import MAX_CELL, Row

_CHUNK = 1 << 20  # characters
_SPACE = re.compile(r"[\s\ufeff]*")
HOLDERS = ("data", "document")  # members of an object that hold its rows
_HOLDER = re.compile(rf'(?<!\\)"(?:{"|".join(HOLDERS)})"\s*:\s*\[\s*\{{')
_DECODE = json.JSONDecoder(parse_constant=lambda name: None).raw_decode  # NaN: a missing value, as NumPy writes it


def json_rows(path: Path, encoding: str) -> Iterator[Row]:
    """Rows with their JSON types; values are read one at a time, whatever the size of the file.

    Raises:
        InputError: it is not JSON, or a row is no object; names row, line and character.
    """
    with path.open(encoding=encoding) as file:
        source = _Source(path, file)
        holds = _HOLDER.search(source.text) is not None and source.next_character() == "{"
        while character := source.next_character():
            if character == "[":
                yield from source.elements()
            elif holds:
                yield from source.held()
            else:
                yield source.row()


class _Source:
    """A text of which a piece is in memory, read value by value."""

    def __init__(self, path: Path, file: TextIO):
        self.path, self._file = path, file
        self.text, self._at, self._ended = "", 0, False
        self._line, self._counted, self._number = 1, 0, 0
        self._more()

    def _more(self) -> None:
        """Reads on; what was used leaves memory."""
        self._line_now()
        self.text, self._at, self._counted = self.text[self._at :], 0, 0
        piece = self._file.read(max(_CHUNK, len(self.text)))
        self.text += piece
        self._ended = not piece

    def _line_now(self) -> int:
        self._line += self.text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def next_character(self) -> str:
        """The next character that is no space, "" at the end."""
        while True:
            self._at = _SPACE.match(self.text, self._at).end()
            if self._at < len(self.text) or self._ended:
                return self.text[self._at : self._at + 1]
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
                value, end = _DECODE(self.text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - 16
                if self._ended or not cut or len(self.text) - self._at > MAX_CELL:
                    raise self._error(error.msg, error.pos) from None
            else:
                if end < len(self.text) or self._ended:
                    self._at = end
                    return value
            self._more()

    def _error(self, message: str, at: int) -> InputError:
        line = self._line_now() + self.text.count("\n", self._at, at)
        column = at - self.text.rfind("\n", 0, at)
        return InputError(
            f"{self.path}: row {self._number or 1} (line {line}) is not JSON: {message} at character {column}; "
            "export it again"
        )

    def row(self) -> Row:
        self._number += 1
        self.next_character()
        line, value = self._line_now(), self._value()
        if not isinstance(value, dict):
            kind = "array" if isinstance(value, list) else type(value).__name__
            raise InputError(f"{self.path}: row {self._number} (line {line}) is a JSON {kind}; a row is an object")
        return Row(self._number, line, value)

    def elements(self) -> Iterator[Row]:
        """The rows of an array."""
        self._take("[")
        if self.next_character() == "]":
            self._at += 1
            return
        while True:
            yield self.row()
            if self._take(",]") == "]":
                return

    def held(self) -> Iterator[Row]:
        """The rows that a member of an object holds; its other members are passed over."""
        self._take("{")
        while True:
            name = self._value()
            self._take(":")
            if name in HOLDERS and self.next_character() == "[":
                yield from self.elements()
            else:
                self._value()
            if self._take(",}") == "}":
                return
