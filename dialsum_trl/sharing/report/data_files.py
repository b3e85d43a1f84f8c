"""The audit and the lengths of the files in a report."""

from pathlib import Path

from datasets import Dataset

from dialsum_trl.data.audit import Audit, audit_rows
from dialsum_trl.data.dialogues import named_rows
from dialsum_trl.prompts.token_lengths import measure
from dialsum_trl.sharing.report.page import Lengths


def audit_file(path: str, columns: dict[str, str]) -> tuple[str, Audit]:
    """Name and audit of a data file; `columns` as for `data.read_dialogues`."""
    return Path(path).name, audit_rows(named_rows(path, columns, require_summary=False, strict=False))


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
