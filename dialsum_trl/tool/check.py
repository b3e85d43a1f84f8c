"""`dialsum check`: data files looked through before a GPU is paid for."""

import csv
import io
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dialsum_trl.console import printable
from dialsum_trl.corpus.lengths import measure, print_lengths
from dialsum_trl.corpus.tables import read_table
from dialsum_trl.errors import InputError
from dialsum_trl.files import write_text
from dialsum_trl.tool.audit import Audit, Finding, audit_rows

COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def check_files(
    files: list[Path],
    tokenizer: str | None = None,
    max_length: int = 1024,
    fix: Path | None = None,
    columns: dict[str, str] | None = None,
) -> bool:
    """Prints what there is to know about each file and about the files together.

    Args:
        files: the first is for training, the others for evaluation.
        tokenizer: model whose tokens are counted; characters without one.
        fix: where a cleaned copy of the first file goes.
        columns: `fname`, `dialogue`, `summary` -> the files' names, where they differ.

    Returns:
        Whether training would take the files.

    Raises:
        InputError: `fix` would overwrite a file, or the tokenizer cannot be loaded.
    """
    if fix is not None and fix.exists():
        raise InputError(f"--fix {fix}: exists; nothing is overwritten, give a new name")
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())  # in a pipe one line stays one line
    counter = measure(tokenizer)
    audits: list[Audit | None] = []
    clean = True
    for path in files:
        audit = read_audit(path, console, columns or {})
        audits.append(audit)
        clean &= audit is not None and not any(finding.level == "error" for finding in audit.findings)
        if audit is None:
            continue
        print_findings(console, path, audit)
        if audit.rows:
            print_lengths(console, audit.rows, counter, max_length)
        console.print()
    train, *others = audits
    shared: set[str] = set()
    for path, audit in zip(files[1:], others, strict=True):
        if train is not None and audit is not None:
            shared |= print_leakage(console, files[0], path, train, audit)
    if fix is not None and train is not None:
        print_fixed(console, files[0], fix, train, shared, (columns or {}).get("dialogue", "dialogue"))
    clean &= not shared
    console.print(Text("ready for training", "green") if clean else Text("not ready: see the errors above", "bold red"))
    return clean


def read_audit(path: Path, console: Console, columns: dict[str, str]) -> Audit | None:
    """The audit of a file, or None after printing why it cannot be read."""
    from dialsum_trl.data import resolve_columns

    try:
        table = list(read_table(path))
        names = resolve_columns(str(path), list(table[0].values), columns, require_summary=False)
        return audit_rows(table, names)
    except InputError as error:
        print_entry(console, "error", Text(str(error)))
        return None


def print_findings(console: Console, path: Path, audit: Audit) -> None:
    columns = printable(", ".join(audit.columns))
    console.print(Text.assemble((printable(path), "bold"), f": {audit.total:,} rows; columns {columns}"))
    for finding in audit.findings:
        print_finding(console, finding)
    if not audit.has_references:
        print_finding(console, Finding("note", "no summaries: for prediction only"))


def print_finding(console: Console, finding: Finding) -> None:
    shown = printable(", ".join(finding.rows[:3])) + (", ..." if len(finding.rows) > 3 else "")
    examples = Text.assemble(f": {len(finding.rows):,} ", (f"({shown})", "dim")) if finding.rows else Text()
    print_entry(console, finding.level, Text.assemble(printable(finding.text), examples))


def print_entry(console: Console, level: str, text: Text) -> None:
    """Level and text: wrapped beside the level in a terminal, one line in a pipe."""
    if not console.is_terminal:
        console.print(Text(f"{level:8} {text.plain}"))
        return
    entry = Table.grid(padding=(0, 1))
    entry.add_column(width=8, style=COLOURS[level])
    entry.add_column()
    entry.add_row(level, text)
    console.print(entry)


def print_leakage(console: Console, train_path: Path, path: Path, train: Audit, other: Audit) -> set[str]:
    """Prints how the training file gives `path` away; returns the fnames of equal rows, which training refuses."""
    from dialsum_trl.corpus.contamination import contamination_warnings
    from dialsum_trl.data import shared_rows

    equal = {left for left, _ in shared_rows(train.rows, other.rows)}
    console.print(Text(printable(f"{train_path} and {path}"), "bold"))
    lines = contamination_warnings(train.rows, other.rows)
    for line in lines:
        level = "error" if "equal evaluation rows" in line else "warning"
        print_finding(console, Finding(level, line))
    if not lines:
        print_finding(console, Finding("note", "no row in common, no near copies"))
    return equal


def print_fixed(console: Console, path: Path, fix: Path, train: Audit, shared: set[str], column: str) -> None:
    written = write_fixed(fix, train, shared, column)
    dropped = train.total - written
    left_out = f"; {dropped:,} unusable rows left out" if dropped else ""
    line = f"{fix}: {written:,} rows of {path}, dialogues cleaned, summaries untouched{left_out}"
    console.print(Text(printable(line)))


def write_fixed(fix: Path, train: Audit, shared: set[str], column: str) -> int:
    """Writes the usable rows with clean dialogues in `column`, as CSV or JSONL; returns their number."""
    if fix.suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"--fix {fix}: give a name that ends with .csv or .jsonl")
    pairs = zip(train.rows, train.kept, strict=True)
    rows = [{**source.values, column: row["dialogue"]} for row, source in pairs if row["fname"] not in shared]
    text = io.StringIO(newline="")
    if fix.suffix.lower() == ".csv":
        writer = csv.DictWriter(text, train.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(fix, text.getvalue())
    return len(rows)
