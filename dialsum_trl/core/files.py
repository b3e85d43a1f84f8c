"""Files that are whole or absent: written aside, then renamed, so that a run that dies leaves the old one or none."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dialsum_trl.core.errors import InputError


@contextlib.contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """A path to write to; what is there when the block ends becomes `path`, and nothing does when it fails."""
    path = Path(path)
    check_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:  # a full disk, Ctrl+C: the space is free again
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; it becomes `folder`, which must not exist yet, when the block ends, and is deleted when
    the block fails."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted run left
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(folder)
    except BaseException:  # a full disk, Ctrl+C: the space is free again
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text with LF line endings; makes the folder."""
    with written_aside(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def check_place(path: str | Path) -> None:
    """Raises InputError if no file can be written at `path`: it is a folder, or its folder cannot be one."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    if problem := _problem(path.absolute().parent):
        raise InputError(f"{path}: {problem}; name another place")


def check_writable(folder: Path, flag: str = "--output_dir") -> None:
    """Raises InputError where a folder cannot be made or written into; writes nothing."""
    if problem := _problem(folder.absolute()):
        raise InputError(f"{flag} {folder}: {problem}; give another folder")


def _problem(folder: Path) -> str | None:
    """Why nothing can be written in a folder that is there or is to be made; None where it can."""
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    return (
        None if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written (no permission, or read-only)"
    )


def check_target(path: str | Path, flag: str, sources: Iterable[str | Path | None]) -> None:
    """`check_place`, and an InputError where writing to `path` would replace one of the files that are read.

    Args:
        flag: what the user gave `path` with.
        sources: paths of these files; None, and names that are no files, are passed over.
    """
    path = Path(path)
    check_place(path)
    for source in filter(None, sources):
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise InputError(f"{flag} {path}: is {source}, which this command reads; name another file")


def move_files(source: Path, target: Path) -> None:
    """Moves what a folder holds into another one on the same disk, each file whole, over those of the same name."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            destination = target / path.relative_to(source)
            destination.parent.mkdir(parents=True, exist_ok=True)
            path.replace(destination)
    shutil.rmtree(source)


def json_text(content: object, default: Callable | None = None) -> str:
    """JSON with readable Korean; `default` is json's, for what is no JSON."""
    return json.dumps(content, ensure_ascii=False, indent=2, default=default) + "\n"


def write_json(path: Path, content: object) -> None:
    """Writes `json_text`."""
    write_text(path, json_text(content))
