"""A full disk: what the system, safetensors and torch say of it becomes one line that names the remedy."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CUT_OFF = "was cut off while it was written"
# as safetensors (Rust) and torch.save (C++) report it; the latter says no more than that
DISK_TEXTS = ("(os error 28)", "(os error 27)", "(os error 122)", "No space left")
DISK_TEXTS += ("PytorchStreamWriter failed", "basic_ios::clear: iostream error", "unexpected pos", CUT_OFF)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def disk_problem(error: BaseException) -> str | None:
    """What kept a file from being written, when it was the disk; otherwise None."""
    full = next((e for e in causes(error) if isinstance(e, OSError) and e.errno in DISK_FULL), None)
    told = next((e for e in causes(error) if any(text in str(e) for text in DISK_TEXTS)), None)
    return os.strerror(full.errno) if full else told and " ".join(str(told).split())[:160]


def free_gib(folder: str | Path) -> float:
    """Free space on the disk of `folder`, in GiB."""
    return shutil.disk_usage(folder).free / 2**30


def file_problem(error: BaseException) -> str | None:
    """One line for an error of a full disk or a file that is not to be used; None for any other."""
    if reason := disk_problem(error):
        return (
            f"a file could not be written ({reason}): free some space and run the same command again, a training run "
            f"with --resume_from_checkpoint true"
        )
    if isinstance(error, OSError) and error.errno in NOT_ALLOWED and error.filename is not None:
        return f"{error.filename}: {os.strerror(error.errno)}; give another folder, or get the right to use it"
    return None
