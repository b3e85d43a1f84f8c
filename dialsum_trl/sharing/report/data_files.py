"""The audit and the lengths of the files in a report."""

from pathlib import Path

from datasets import Dataset

from dialsum_trl.data.audit import Audit, audit_rows
from dialsum_trl.data.dialogues import resolve_columns
from dialsum_trl.data.tables import read_table
from dialsum_trl.prompts.token_lengths import measure
from dialsum_trl.sharing.report.page import Lengths


def audit_file(path: str, columns: dict[str, str]) -> tuple[str, Audit]:
    """Name and audit of a data file; `columns` as for `data.read_dialogues`."""
    rows = list(read_table(path))
    names = resolve_columns(path, list(rows[0].values), columns, require_summary=False)
    return Path(path).name, audit_rows(rows, names)


def count_lengths(rows: Dataset, name: str, tokenizer: str | None, max_length: int | None) -> tuple[Lengths, list[int]]:
    """Lengths of prompt + first summary for the page, and the length of every prompt.

    Args:
        rows: of `data.dialogues.read_dialogues`.
        tokenizer: model whose tokens are counted; None counts characters.
    """
    how = measure(tokenizer)
    prompts = how.prompt(rows["dialogue"][:])
    whole = prompts
    if all(rows["summaries"]):
        summaries = how.summary([references[0] for references in rows["summaries"]])
        whole = [one + other for one, other in zip(prompts, summaries, strict=True)]
    return Lengths(name, how.unit, whole, max_length), prompts
