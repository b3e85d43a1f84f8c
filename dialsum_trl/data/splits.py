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

    Raises:
        InputError: no training rows, both kinds of them, rows in both, or what `read_dialogues` refuses.
    """
    if data.dataset_name and data.train_file:
        raise InputError("--dataset_name and --train_file exclude each other")
    if data.dataset_name:
        train_source, eval_source = f"hub:{data.dataset_name}:train", f"hub:{data.dataset_name}:validation"
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
