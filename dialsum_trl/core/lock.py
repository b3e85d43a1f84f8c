"""One writer a folder: two runs in one delete what the other is writing, and mix what they have written."""

import contextlib
import os
from pathlib import Path

from dialsum_trl.core.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_held: dict[Path, int] = {}  # folder -> the handle by which this process holds it


@contextlib.contextmanager
def let_go_at_end():
    """Lets go of the folders that were taken in this block; a process that dies lets go of them all."""
    before = set(_held)
    try:
        yield
    finally:
        for folder in set(_held) - before:
            os.close(_held.pop(folder))


def sole_writer(folder: str | Path, flag: str = "--output_dir") -> None:
    """Makes the folder and holds it until the stage or the process ends; nothing is written into it.

    It is an advisory lock (flock) on the folder itself. Where the disk has none (some network disks), or on Windows,
    nothing is held.

    Raises:
        InputError: another process holds it.
    """
    if fcntl is None:
        return
    folder = Path(folder).resolve()
    if folder in _held:
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
    _held[folder] = handle
