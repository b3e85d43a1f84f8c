"""What a run prints: one rank speaks, numbers stand in tables."""

import os


def is_main_process() -> bool:
    """Whether this process is the one that prints, writes and pushes (rank 0 of the launcher, or no launcher)."""
    return int(os.environ.get("RANK", "0")) == 0


def quiet_libraries() -> None:
    """Silences lines that libraries print on every start and that no user can act on."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # peft and TRL do
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # an optional CPU kernel is not there
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # that a CPU is a CPU


def say(*parts) -> None:
    """`print` on the main process only."""
    if is_main_process():
        print(*parts, flush=True)


def table(title: str, rows: list[tuple], header: tuple[str, ...] = ()) -> None:
    """Prints rows as an aligned table on the main process, floats to four decimals; works in a pipe."""
    if not is_main_process():
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    result = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=bool(header))
    for index in range(max(len(row) for row in [*rows, header])):
        result.add_column(header[index] if header else "", justify="left" if index == 0 else "right")
    for row in rows:
        result.add_row(*(str(round(cell, 4)) if isinstance(cell, float) else str(cell) for cell in row))
    Console().print(result)
