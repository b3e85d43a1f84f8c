"""Errors at the boundary: one line that says what is wrong, where, and the remedy."""

import contextlib
import re
from collections.abc import Iterator

from dialsum_trl.core.console import printable

LONGEST = 1500  # characters of a message


def one_line(message: str) -> str:
    """A message as one printable line: what a file put into it neither breaks it nor moves the terminal's cursor."""
    text = printable(re.sub(r"\s*[\r\n]\s*", " ", str(message)))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


class InputError(ValueError):
    """Something the user gave (a file, a row, a flag) is wrong. The message is one line and names the remedy."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class TrainingError(RuntimeError):
    """A run went wrong in a way that more steps do not help (NaN loss, an adapter that does not train)."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


@contextlib.contextmanager
def settings_in_one_line() -> Iterator[None]:
    """What a trainer or its config says of settings that do not go together becomes an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, ImportError) as error:
        raise InputError(f"settings: {error}") from error
