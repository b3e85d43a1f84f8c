"""Files that are whole or absent: written aside, then renamed, so that a run that dies leaves the old one or none."""

import json
import shutil
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with LF line endings; makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
    partial.replace(path)


def move_files(source: Path, target: Path) -> None:
    """Moves what a folder holds into another one on the same disk, each file whole, over those of the same name."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            destination = target / path.relative_to(source)
            destination.parent.mkdir(parents=True, exist_ok=True)
            path.replace(destination)
    shutil.rmtree(source)


def json_text(content) -> str:
    """JSON with readable Korean."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def write_json(path: Path, content) -> None:
    """Writes `json_text`."""
    write_text(path, json_text(content))
