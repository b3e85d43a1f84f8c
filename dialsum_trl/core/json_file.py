"""JSON files: the object in them, or one line that says what is wrong where."""

import json
from pathlib import Path

from dialsum_trl.core.errors import InputError


def read_json(path: str | Path, remedy: str) -> dict:
    """The object in a JSON file (UTF-8, a byte order mark is accepted).

    Args:
        remedy: how the message ends: what to give or to do instead.

    Raises:
        InputError: the file cannot be read, is not UTF-8, not JSON, or holds no object.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8-sig"), path, remedy)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; {remedy}") from None


def parse_json(text: str, place: str | Path, remedy: str) -> dict:
    """The object in a JSON text; `place` says in errors where the text comes from."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{place}: not JSON ({error.msg} at line {error.lineno}, character {error.colno}); {remedy}"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{place}: holds a JSON {type(content).__name__} where an object was expected; {remedy}")
    return content
