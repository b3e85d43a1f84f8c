"""JSON files that others wrote: an object, or one line that says what is wrong where."""

import json
from pathlib import Path

from dialsum_trl.errors import InputError

MAX_BYTES = 200_000_000  # a log of a million steps; a tokenizer.json has 20 MB at most


def read_json(path: str | Path, remedy: str) -> dict:
    """The object in a JSON file (UTF-8, a byte order mark is accepted).

    Args:
        remedy: how the message ends: what to give or to do instead.

    Raises:
        InputError: the file cannot be read, is too large, not UTF-8, not JSON, or holds no object.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: is longer than {MAX_BYTES:,} bytes; {remedy}")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; {remedy}") from None
    return parse_json(text, path, remedy)


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
