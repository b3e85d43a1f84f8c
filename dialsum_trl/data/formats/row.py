"""What every reader yields."""

from itertools import count
from typing import NamedTuple

from dialsum_trl.core.errors import InputError

MAX_CELL = 10_000_000  # characters; a longer cell is an unclosed quote or a file of another kind


class Row(NamedTuple):
    """One data row. `number` counts data rows from 1; `line` is where it starts in a text file, 0 elsewhere."""

    number: int
    line: int
    values: dict

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"row {self.number}" + (f" (line {self.line})" if self.line else "")


def header_names(where: str, cells: list[str]) -> list[str]:
    """Names of columns; unnamed ones get "", " ", and so on, which `str.strip` makes what they were."""
    header = [cell.strip() for cell in cells]
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise InputError(f"{where} names column '{repeated[0]}' twice; rename one of them")
    unnamed = count()
    return [name or " " * next(unnamed) for name in header]
