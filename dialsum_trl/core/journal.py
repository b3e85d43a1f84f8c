"""A journal that survives a kill: what the results depend on, then one line per finished piece."""

import json
import os
from pathlib import Path

from dialsum_trl.core.console import is_main_process
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_text


def read(path: Path) -> list:
    """The lines of a journal as they were written; a half-written line, and what follows it, is left out."""
    entries = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                entries.append(json.loads(line))
            except ValueError:
                break
    return entries


def check_same(what: str, then: dict, asked: dict) -> None:
    """Raises InputError for the first setting with which earlier work was done otherwise; `what` says what it is."""
    if other := next((name for name in {**then, **asked} if then.get(name) != asked.get(name)), None):
        raise InputError(
            f"{what} {other} = {then.get(other)}, now it is {asked.get(other)}; choose another --output_dir"
        )


class Journal:
    """Appends finished pieces to `path`; `done` holds those of an earlier run of the same work.

    Args:
        depends_on: what the results depend on, compared after JSON. Pieces of other work are dropped: check with `read`
            first if they must be kept.
    """

    def __init__(self, path: Path, depends_on: dict):
        entries = read(path)
        self.path, self.done = path, entries[1:] if entries and entries[0] == depends_on else []
        self.depends_on, self._begun = depends_on, False

    def add(self, piece: object) -> None:
        """Keeps a finished piece; it is on the disk when this returns."""
        self.done.append(piece)
        if not is_main_process():
            return
        if not self._begun:  # work that ends in an error before its first piece leaves no file
            write_text(self.path, "".join(_line(entry) for entry in [self.depends_on, *self.done[:-1]]))
            self._begun = True
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(piece))
            file.flush()
            os.fsync(file.fileno())


def _line(entry: object) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
