"""How the commands print findings: one line in a pipe, wrapped beside their level in a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dialsum_trl.core.console import printable


def open_console() -> Console:
    """A console that leaves numbers uncoloured and, in a pipe, lines unbroken."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def said_before() -> Iterator[None]:
    """Nothing is printed: a file is read once more, and what was to be said of it was said."""
    with redirect_stdout(None), redirect_stderr(None):
        yield


def print_line(console: Console, text: str, style: str = "") -> None:
    """Prints a text that may come from a file: without markup, control characters escaped."""
    console.print(Text(printable(text), style))


def print_entry(console: Console, labels: list[tuple[str, int, str]], text: Text) -> None:
    """Prints labels and a text.

    Args:
        labels: word, columns with the space after it, and rich style of each.
    """
    if not console.is_terminal:
        print("".join(f"{word:{width}}" for word, width, _ in labels) + text.plain.rstrip())
        return
    entry = Table.grid(padding=(0, 1))
    for _, width, style in labels:
        entry.add_column(width=width - 1, style=style)
    entry.add_column(overflow="fold")
    entry.add_row(*(word for word, _, _ in labels), text)
    console.print(entry)
