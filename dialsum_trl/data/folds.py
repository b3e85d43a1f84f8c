"""Parts of a file, to train on and to sample from: two halves, or k folds with an adapter each."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_place, check_writable, write_text
from dialsum_trl.core.json_file import read_json
from dialsum_trl.data.cleaning import normalized
from dialsum_trl.data.tables import csv_line

if TYPE_CHECKING:
    from datasets import Dataset


FOLDS_FILE = "folds.json"


def divide(rows: Dataset, count: int, seed: int) -> list[list[int]]:
    """Row numbers in `count` parts, drawn by `seed`; rows of one dialogue stay together.

    A model that has seen a dialogue under another name has seen it.
    """
    alike: dict[str, list[int]] = {}
    for index, dialogue in enumerate(rows["dialogue"]):
        alike.setdefault(normalized(dialogue), []).append(index)
    order = list(alike.values())
    random.Random(seed).shuffle(order)
    return [sorted(index for group in order[fold::count] for index in group) for fold in range(count)]


def rows_as_csv(rows: Dataset, indices: list[int]) -> str:
    """These rows with all their references as the text of a CSV."""
    most = max(len(row) for row in rows["summaries"])
    names = ["summary"] if most == 1 else [f"summary{n + 1}" for n in range(most)]
    lines = [csv_line(["fname", "dialogue", *names])]
    for index in indices:
        row = rows[index]
        blank = [""] * (most - len(row["summaries"]))
        lines.append(csv_line([row["fname"], row["dialogue"], *row["summaries"], *blank]))
    return "".join(lines)


def read_fold_adapters(folder: str) -> dict[str, str]:
    """fname -> the adapter of `recipes/folds.py` that was not trained on that row.

    Raises:
        InputError: the folder is none of that recipe.
    """
    content = read_json(Path(folder) / FOLDS_FILE, "give --folds_dir the folder that recipes/folds.py wrote")
    return {fname: fold["adapter"] for fold in content["folds"] for fname in fold["held_out"]}


def write_folds(rows: Dataset, folder: str, seed: int) -> list[Path]:
    """Two CSVs with half of the dialogues each, by `divide`: an adapter trained on one samples on the other."""
    check_writable(Path(folder), "--write_folds")
    parts = divide(rows, 2, seed)
    if not all(parts):
        raise InputError(f"--write_folds {folder}: one dialogue makes no two folds; give a --train_file with more")
    folds = {Path(folder) / f"fold{fold}.csv": rows_as_csv(rows, indices) for fold, indices in enumerate(parts)}
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
