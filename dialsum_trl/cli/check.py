"""`dialsum check`: data files looked through before training."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from dialsum_trl.cli.printing import open_console, print_entry, print_line, said_before
from dialsum_trl.core.console import printable
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import json_text
from dialsum_trl.core.settings.bounds import COUNT, check_number
from dialsum_trl.core.settings.defaults import MAX_LENGTH
from dialsum_trl.data.audit import Audit, Finding, audit_rows
from dialsum_trl.data.contamination import contamination_warnings, shared_rows
from dialsum_trl.data.dialogues import named_rows
from dialsum_trl.data.lengths import CHARACTERS, print_lengths
from dialsum_trl.data.writing import check_new_file, write_rows

COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}
NOT_FOR_TRAINING = Finding(
    "error", "no summaries: the first of several files is for training; name its --summary_column"
)
FOR_PREDICTION = Finding("note", "no summaries: for prediction only")


def print_check(files: list[Path], *settings: Any, as_json: bool = False) -> bool:
    """`check_files`; with `as_json` its findings are one JSON object on standard output, and nothing else is."""
    if not as_json:
        return check_files(files, *settings)
    found: dict[str, list[Finding]] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        ready = check_files(files, *settings, found=found)
    print(json_text({"ready": ready, "findings": {k: [asdict(one) for one in v] for k, v in found.items()}}), end="")
    return ready


def check_files(
    files: list[Path],
    tokenizer: str | None = None,
    max_length: int | None = None,
    fix: Path | None = None,
    columns: dict[str, str] | None = None,
    found: dict[str, list[Finding]] | None = None,
) -> bool:
    """Prints the findings of each file and of the files together.

    Args:
        files: the first is for training, the others for evaluation.
        tokenizer: model whose tokens are counted; characters without one.
        max_length: tokens of prompt + summary in training; None: `defaults.MAX_LENGTH`.
        fix: where a cleaned copy of the first file goes.
        columns: `fname`, `dialogue`, `summary` -> the files' names, where they differ.
        found: takes the findings by file, and of pairs of files by "a and b".

    Returns:
        Whether the files are ready for training; for a single file without summaries, for prediction.
    """
    if max_length is not None:
        check_number("max_length", max_length, COUNT)
        if tokenizer is None:
            raise InputError(f"--max_length {max_length}: counts tokens; name the model that makes them by --tokenizer")
    if fix is not None:
        check_new_file(fix, "--fix")
    limit, counter, lost_rows = max_length or MAX_LENGTH, CHARACTERS, None
    if tokenizer is not None:
        from dialsum_trl.cli.check_tokens import lost_rows, measure  # they load transformers

        counter = measure(tokenizer)
    console, columns, found = open_console(), columns or {}, {} if found is None else found
    audits: list[Audit | None] = []
    refused: set[str] = set()  # rows of the first file that `fix` leaves out
    for number, path in enumerate(files):
        found[str(path)] = []
        audits.append(audit := read_audit(path, console, columns, found[str(path)]))
        if audit is None:
            continue
        if not audit.has_references:
            audit.findings.append(NOT_FOR_TRAINING if number == 0 and len(files) > 1 else FOR_PREDICTION)
        elif lost_rows and audit.rows and (lost := lost_rows(audit.rows, tokenizer, counter, limit)):
            audit.findings.insert(0, lost)
            refused.update(lost.rows if number == 0 else [])
        print_audit(console, path, audit, found[str(path)])
        if audit.rows:
            print_lengths(console, audit.rows, counter, limit)
        console.print()
    train, *others = audits
    shared: set[str] = set()
    for path, audit in zip(files[1:], others, strict=True):
        if train is not None and audit is not None:
            between = found.setdefault(f"{files[0]} and {path}", [])
            shared |= print_leakage(console, files[0], path, train, audit, between)
    written = train is not None and fix is not None
    written = written and print_fixed(console, files[0], fix, train, refused | shared, columns)
    trainable = written and train.has_references and all(map(usable, others))
    ready = all(map(usable, audits)) and not shared
    print_verdict(console, ready, files[0], train, fix if trainable else None)
    return ready


def print_verdict(console: Console, ready: bool, path: Path, train: Audit | None, fixed: Path | None) -> None:
    """The last line; `fixed`: the cleaned copy of the training file `path`, if it can be trained on."""
    if ready and train.has_references:
        print_line(console, "ready for training", "green")
    elif ready:
        print_line(console, "ready for prediction, not for training", "yellow")
    elif fixed:
        print_line(console, f"{fixed} is ready for training; {path} is not: see the errors above", "yellow")
    else:
        print_line(console, "not ready: see the errors above", "bold red")


def print_audit(console: Console, path: Path, audit: Audit, found: list[Finding]) -> None:
    """Rows, columns and findings of a file."""
    columns = f": {audit.total:,} rows; columns {printable(', '.join(audit.columns))}"
    console.print(Text.assemble((printable(path), "bold"), columns))
    for finding in audit.findings:
        print_finding(console, finding, found)


def usable(audit: Audit | None) -> bool:
    """Whether a file could be read and has no errors."""
    return audit is not None and not any(finding.level == "error" for finding in audit.findings)


def read_audit(path: Path, console: Console, columns: dict[str, str], found: list[Finding]) -> Audit | None:
    """The audit of a file, or None after printing why it cannot be read."""
    try:
        return audit_rows(named_rows(path, columns, require_summary=False, strict=False))
    except InputError as error:
        print_finding(console, Finding("error", str(error)), found)
        return None


def print_finding(console: Console, finding: Finding, found: list[Finding]) -> None:
    """Level, text, and the number of rows with the first three of them; adds it to `found`."""
    found.append(finding)
    text = Text(printable(finding.text))
    if finding.rows:
        more = ", ..." if len(finding.rows) > 3 else ""
        text.append(f": {len(finding.rows):,} ").append(f"({printable(', '.join(finding.rows[:3]))}{more})", "dim")
    print_entry(console, [(finding.level, 9, COLOURS[finding.level])], text)


def print_leakage(
    console: Console, train_path: Path, path: Path, train: Audit, other: Audit, found: list[Finding]
) -> set[str]:
    """Prints what the training file shares with `path`; returns the fnames of equal rows, which training refuses."""
    print_line(console, f"{train_path} and {path}", "bold")
    for line in contamination_warnings(train.rows, other.rows) or ["no row in common, no near copies"]:
        level = "note" if line.startswith("no row") else "error" if "equal evaluation rows" in line else "warning"
        print_finding(console, Finding(level, line), found)
    return {left for left, _ in shared_rows(train.rows, other.rows)}


def print_fixed(
    console: Console, path: Path, fix: Path, train: Audit, refused: set[str], columns: dict[str, str]
) -> bool:
    """Writes the cleaned copy of `path` and says what it holds; returns whether there is one."""
    written = write_fixed(path, fix, train, refused, columns)
    dropped = train.total - written
    left_out = f"; {dropped:,} unusable rows left out" if dropped else ""
    line = f"{fix}: {written:,} rows of {path}, dialogues cleaned, summaries untouched{left_out}"
    none = f"{fix}: not written, for no row of {path} can be kept: see the errors above"
    print_line(console, line if written else none)
    return bool(written)


def write_fixed(path: Path, fix: Path, train: Audit, refused: set[str], columns: dict[str, str]) -> int:
    """Writes the usable rows of `path` that are not `refused`, with clean dialogues, if there are any.

    Returns:
        Their number.
    """

    def kept() -> Iterator[dict]:
        usable = zip(train.kept, train.rows, strict=True)
        number, clean = next(usable, (0, {}))
        for row, names in named_rows(path, columns, require_summary=False, strict=False):
            if row.number == number:
                if clean["fname"] not in refused:
                    yield {**row.values, names["dialogue"]: clean["dialogue"]}
                number, clean = next(usable, (0, {}))

    with said_before():
        names = list(dict.fromkeys(name for row in kept() for name in row))  # rows of a JSONL may differ
        return write_rows(fix, names, kept()) if names else 0
