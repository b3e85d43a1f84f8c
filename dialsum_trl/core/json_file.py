"""JSON and text files that others wrote: an object or a text, or one line that says what is wrong where."""

import json
from pathlib import Path

from dialsum_trl.core.errors import InputError

MAX_BYTES = 200_000_000  # a log of a million steps; a tokenizer.json has 20 MB at most


def read_json(path: str | Path, remedy: str) -> dict:
    """The object in a JSON file (UTF-8, a byte order mark is accepted).

    Args:
        remedy: how the message ends: what to give or to do instead.

    Raises:
        InputError: the file cannot be read, is too large, not UTF-8, not JSON, or holds no object.
    """
    return parse_json(read_text(path, remedy, MAX_BYTES), path, remedy)


def read_text(path: str | Path, remedy: str, most: int) -> str:
    """The text of a file (UTF-8, without a byte order mark).

    Args:
        remedy: how the message ends.
        most: bytes that are read at most.

    Raises:
        InputError: the file cannot be read, is longer, is not UTF-8, or is no file: a pipe or a device has no end.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"{path}: is a pipe or a device, no file; {remedy}")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    if len(content) > most:
        raise InputError(f"{path}: is longer than {most:,} bytes; {remedy}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; {remedy}") from None


def parse_json(text: str, place, remedy: str) -> dict:
    """The object in a JSON text; `place` says in errors where the text comes from.

    Raises:
        InputError: it is not JSON, or no object.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{place}: not JSON ({error.msg} at line {error.lineno}, character {error.colno}); {remedy}"
        ) from None
    except (RecursionError, ValueError):  # the latter: an integer of thousands of digits
        raise InputError(f"{place}: JSON that is nested too deeply or holds an endless number; {remedy}") from None
    if not isinstance(content, dict):
        raise InputError(f"{place}: holds a JSON {type(content).__name__} where an object was expected; {remedy}")
    return content
