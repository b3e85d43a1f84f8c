"""Rows that are gone through several times, in a temporary file: one of them in memory at a time."""

import pickle
from array import array
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile

_IN_MEMORY = 1 << 23  # bytes; a file of more is on disk


class KeptRows:
    """As good as a list of dicts for whoever adds rows and goes through them."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the rows
        self._starts = array("Q")

    def append(self, row: dict) -> None:
        """Adds a row at the end."""
        self._file.seek(0, 2)
        self._starts.append(self._file.tell())
        pickle.dump(row, self._file, pickle.HIGHEST_PROTOCOL)

    def keep(self, numbers: Iterable[int]) -> None:
        """Leaves the rows with these numbers, counted from 0."""
        self._starts = array("Q", [self._starts[number] for number in numbers])

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[dict]:
        for start in self._starts:
            self._file.seek(start)
            yield pickle.load(self._file)
