"""The audit and the lengths of the files in a report."""

from pathlib import Path

from dialsum_trl.data.audit import audit_rows
from dialsum_trl.data.dialogues import resolve_columns
from dialsum_trl.data.tables import read_table
from dialsum_trl.prompts.lengths import measure
from dialsum_trl.sharing.report.page import FileCheck, Lengths


def audit_file(path: str, columns: dict[str, str]):
    """A `page.FileCheck` of a data file; `columns` as for `data.read_dialogues`."""
    rows = list(read_table(path))
    names = resolve_columns(path, list(rows[0].values), columns, require_summary=False)
    return FileCheck(Path(path).name, audit_rows(rows, names))


def count_lengths(rows, name: str, tokenizer: str | None, max_length: int | None):
    """`page.Lengths` of prompt + first summary, and the length of every prompt."""
    how = measure(tokenizer)
    prompts = how.prompt(rows["dialogue"][:])
    whole = prompts
    if all(rows["summaries"]):
        summaries = how.summary([references[0] for references in rows["summaries"]])
        whole = [one + other for one, other in zip(prompts, summaries, strict=True)]
    return Lengths(name, how.unit, whole, max_length), prompts
