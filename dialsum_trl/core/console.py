"""What a run prints: only on the first process, numbers in tables, control characters escaped."""

import logging
import os
import unicodedata
import warnings

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_JOINER = "\u200d"  # between the parts of an emoji


def printable(text: object, keep: str = "") -> str:
    """`text` with control, format and half characters written out (`\\x1b`), but for those in `keep`."""
    return "".join(c if c in keep or _harmless(c) else c.encode("unicode_escape").decode() for c in str(text))


def _harmless(c: str) -> bool:
    return c.isprintable() or c == _JOINER or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def is_main_process() -> bool:
    """Whether this process is the one that prints, writes and pushes (rank 0 of the launcher, or no launcher)."""
    return int(os.environ.get("RANK", "0")) == 0


def quiet_libraries() -> None:
    """Silences lines that libraries print on every start and that no user can act on."""
    # libraries call one another by old names: peft and TRL transformers, DeepSpeed and accelerate torch
    old_names = r"is_gradient_checkpointing|gradient_checkpointing_(en|dis)able|torch\.distributed.*|broadcast_buffers"
    warnings.filterwarnings("ignore", f"`({old_names})` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r"barrier\(\): using the device under current context", UserWarning)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # an optional CPU kernel is not there
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # that a CPU is a CPU


def say(*parts: object) -> None:
    """`print` on the main process only; of control characters line feeds alone get through."""
    if is_main_process():
        print(*(printable(part, keep="\n") for part in parts), flush=True)


def table(title: str, rows: list[tuple], header: tuple[str, ...] = ()) -> None:
    """Prints rows as an aligned table on the main process, floats to four decimals, None as a dash; works in a pipe.

    Texts are printed as they are: without rich markup, control characters escaped.
    """
    if not is_main_process():
        return

    def text(cell: object, style: str = "") -> Text:
        shown = "-" if cell is None else round(cell, 4) if isinstance(cell, float) else cell
        return Text(printable(shown), style)

    result = Table(
        title=text(title, "table.title"), title_justify="left", box=box.SIMPLE_HEAD, show_header=bool(header)
    )
    for index in range(max(len(row) for row in [*rows, header])):
        result.add_column(text(header[index] if header else ""), justify="left" if index == 0 else "right")
    for row in rows:
        result.add_row(*map(text, row))
    Console().print(result)
