"""How the commands print findings: one line in a pipe, wrapped beside their level in a terminal."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text


def open_console() -> Console:
    """A console that leaves numbers uncoloured and, in a pipe, lines unbroken."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_entry(console: Console, labels: list[tuple[str, int, str]], text: Text) -> None:
    """Prints labels and a text.

    Args:
        labels: word, columns with the space after it, and rich style of each.
    """
    if not console.is_terminal:
        console.print(Text("".join(f"{word:{width}}" for word, width, _ in labels) + text.plain))
        return
    entry = Table.grid(padding=(0, 1))
    for _, width, style in labels:
        entry.add_column(width=width - 1, style=style)
    entry.add_column()
    entry.add_row(*(word for word, _, _ in labels), text)
    console.print(entry)
