"""Files that are whole or absent: written aside, then renamed, so that a run that dies leaves the old one or none."""

import json
import shutil
from pathlib import Path

from dialsum_trl.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with LF line endings; makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # it may be a link
    with partial.open("x", encoding="utf-8", newline="") as file:
        file.write(text)
    partial.replace(path)


def move_files(source: Path, target: Path) -> None:
    """Moves what a folder holds into another one on the same disk, each file whole, over those of the same name."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and not path.is_symlink():
            destination = target / path.relative_to(source)
            destination.parent.mkdir(parents=True, exist_ok=True)
            path.replace(destination)
    shutil.rmtree(source)


def refuse_links(*paths: Path) -> None:
    """Raises InputError where one of these is a link: something would be read from, or written to, elsewhere.

    The Hub's cache is let through: its snapshots link to the blobs beside them.
    """
    for path in paths:
        if path.is_symlink() and path.resolve().parent != path.parent.resolve().parent.parent / "blobs":
            raise InputError(f"{path}: is a link to elsewhere; put what it stands for in its place, or remove it")


def json_text(content) -> str:
    """JSON with readable Korean."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def write_json(path: Path, content) -> None:
    """Writes `json_text`."""
    write_text(path, json_text(content))
