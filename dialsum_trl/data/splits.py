"""Training and dev rows of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import DataArguments
from dialsum_trl.data.cleaning import oddity
from dialsum_trl.data.contamination import check_disjoint, contamination_warnings, drop_shared
from dialsum_trl.data.dialogues import read_dialogues

if TYPE_CHECKING:
    from datasets import Dataset


def odd_texts(source: str, rows: Dataset) -> list[str]:
    """One warning per kind of text that is none (`cleaning.oddity`), with the number of rows and the first of them."""
    found: dict[str, list[str]] = {}
    for name, dialogue, summaries in zip(rows["fname"], rows["dialogue"], rows["summaries"], strict=True):
        for role, texts in (("dialogue", [dialogue]), ("summary", summaries)):
            for odd in dict.fromkeys(odd for text in texts if (odd := oddity(text))):
                found.setdefault(f"whose {role} {odd}", []).append(name)
    return [f"warning: {source}: {len(names)} rows {what}; the first is {names[0]}" for what, names in found.items()]


def read_rows(data: DataArguments) -> tuple[Dataset, Dataset | None]:
    """Train and dev rows from files or from a Hub dataset; dev may be None.

    Rows in both are an error, or left out of the training rows with `--drop_shared_rows true`; near copies and English
    originals are printed as warnings.
    """
    if data.dataset_name and data.train_file:
        raise InputError("--dataset_name and --train_file exclude each other")
    if data.dataset_name:
        part = f"{data.dataset_name}:{data.dataset_config}" if data.dataset_config else data.dataset_name
        train_source, eval_source = f"hub:{part}:{data.dataset_train_split}", f"hub:{part}:{data.dataset_eval_split}"
    else:
        train_source, eval_source = data.train_file, data.eval_file
    if not train_source:
        raise InputError("no training rows: give --train_file train.csv (fname,dialogue,summary) or --dataset_name")
    train = read_dialogues(train_source, columns=data.columns())
    dev = read_dialogues(eval_source, columns=data.columns()) if eval_source else None
    for source, rows in ((train_source, train), (eval_source, dev)):
        for warning in odd_texts(source, rows) if rows is not None else ():
            say(warning)
    if dev is not None:
        if data.drop_shared_rows:
            train, shared = drop_shared(train, dev)
            say(f"{len(shared)} training rows that are dev rows too were left out, {len(train)} remain")
            if not len(train):
                raise InputError(f"{train_source}: every training row is a dev row too; give another --eval_file")
        check_disjoint(train, dev)
        for warning in contamination_warnings(train, dev):
            say(warning)
    return train, dev


def each_reference(rows: Dataset, which: str) -> Dataset:
    """Training rows with one reference each: a row per reference (`which` is "all"), or the first alone ("first").

    Prints how many there are where a row has several.
    """
    counts = [len(references) for references in rows["summaries"]]
    if max(counts) == 1:
        return rows
    learned = "each is learned as a row of its own" if which == "all" else "the first of each row is learned"
    say(f"{sum(counts):,} references of {len(rows):,} dialogues: {learned} (--train_references)")
    numbers = [(row, n) for row, count in enumerate(counts) for n in range(count if which == "all" else 1)]
    references = rows["summaries"][:]
    spread = rows.select([row for row, _ in numbers]).remove_columns("summaries")
    return spread.add_column(
        "summaries", [[references[row][n]] for row, n in numbers], feature=rows.features["summaries"]
    )
