"""What makes a checkpoint whole: `files.json`, written last, with size and SHA-256 of every other file in it."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import MANIFEST

ZIPPED = (".pt", ".pth", ".bin")  # torch.save writes zip archives


def sync(path: Path) -> None:
    """Has the system write a file, or a folder's list of names, to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(folder: Path) -> None:
    """Puts every file of `folder` on the disk, and the manifest after them.

    Raises:
        OSError: a file did not reach the disk, or not all of it (torch.save can lose its last bytes without an error).
    """
    folder, entries = Path(folder), {}
    for path in _files(folder):
        if path.suffix in ZIPPED and not zipfile.is_zipfile(path):
            raise OSError(f"{path.name}: was cut off while it was written")
        sync(path)
        entries[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    (folder / MANIFEST).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    sync(folder / MANIFEST)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync(path)


def flaw(folder: str | Path) -> str | None:
    """Why a checkpoint differs from its manifest, in a few words; None if it does not. Later files do not matter."""
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        return f"it has no {MANIFEST}: it was not finished, or another tool wrote it"
    try:
        entries = read_json(folder / MANIFEST, "it is not as it was written")
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in entries.items()}
    except (InputError, KeyError, TypeError, AttributeError) as error:
        return f"its {MANIFEST} is damaged ({error})"
    for name, (size, sha256) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes and had {size}"
        if _sha256(path) != sha256:
            return f"{name} is not what was written (its SHA-256 differs)"
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
