"""Two halves of a file, to train on and to sample from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_place, check_writable, write_text
from dialsum_trl.data.cleaning import normalized
from dialsum_trl.data.tables import csv_line

if TYPE_CHECKING:
    from datasets import Dataset


def write_folds(rows: Dataset, folder: str, seed: int) -> list[Path]:
    """Two CSVs with half of the dialogues each, drawn by `seed`: an adapter trained on one samples on the other.

    Rows of one dialogue stay together, since a model that has seen it under another name has seen it.
    """
    check_writable(Path(folder), "--write_folds")
    alike: dict[str, list[int]] = {}
    for index, dialogue in enumerate(rows["dialogue"]):
        alike.setdefault(normalized(dialogue), []).append(index)
    order = list(alike.values())
    random.Random(seed).shuffle(order)
    most = max(len(row) for row in rows["summaries"])
    names = ["summary"] if most == 1 else [f"summary{n + 1}" for n in range(most)]
    if len(order) < 2:
        raise InputError(f"--write_folds {folder}: one dialogue makes no two folds; give a --train_file with more")
    folds = {}
    for fold in range(2):
        lines = [csv_line(["fname", "dialogue", *names])]
        for index in sorted(index for group in order[fold::2] for index in group):
            row = rows[index]
            blank = [""] * (most - len(row["summaries"]))
            lines.append(csv_line([row["fname"], row["dialogue"], *row["summaries"], *blank]))
        folds[Path(folder) / f"fold{fold}.csv"] = "".join(lines)
    for path, content in folds.items():
        check_place(path)
        if path.exists() and path.read_bytes() != content.encode("utf-8"):
            raise InputError(
                f"--write_folds {folder}: {path.name} holds other rows, which an adapter may have been trained on; "
                "give another folder"
            )
    for path, content in folds.items():
        write_text(path, content)
    return list(folds)
