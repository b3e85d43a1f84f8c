"""One writer per folder: two runs in one delete what the other is writing, and mix what they have written."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dialsum_trl.core.errors import InputError

_locked: dict[Path, int] = {}  # folder -> the handle by which this process locks it


@contextlib.contextmanager
def released_at_end() -> Iterator[None]:
    """Releases the folders that were locked in this block; a process that dies releases them all."""
    before = set(_locked)
    try:
        yield
    finally:
        for folder in set(_locked) - before:
            os.close(_locked.pop(folder))


def sole_writer(folder: str | Path, flag: str = "--output_dir") -> None:
    """Makes the folder and locks it until the stage or the process ends; nothing is written into it.

    It is an advisory lock (flock) on the folder itself. Where the disk has none (some network disks) nothing is locked.
    """
    folder = Path(folder).resolve()
    if folder in _locked:
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(
            f"{flag} {folder}: another process is writing there; wait for its end, or choose another folder"
        ) from None
    except OSError:
        os.close(handle)
        return
    _locked[folder] = handle
