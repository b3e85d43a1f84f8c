"""Write the sample CSVs: synthetic Korean dialogues in the style of the task, all our own.

    python -m toy.make_data [folder]

No dialogue, and no combination of facts, is in two splits. The files are the same on every machine.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from dialsum_trl.data.tables import csv_line
from toy import FOLDER
from toy.scene import Play, play
from toy.scenes_booking import BOOKING_SCENES
from toy.scenes_friends import FRIEND_SCENES
from toy.scenes_service import SERVICE_SCENES
from toy.scenes_strangers import STRANGER_SCENES

SCENES = BOOKING_SCENES + SERVICE_SCENES + FRIEND_SCENES + STRANGER_SCENES
SEED = 20261
SIZES = {"train": 480, "dev": 64, "test": 64}


def unseen_plays(rng: Random, count: int, keys: set[tuple[str, ...]]) -> Iterator[Play]:
    """Yield `count` plays, the topics in turn, whose facts are not in `keys` yet; `keys` grows."""
    made = 0
    while made < count:
        drawn = play(SCENES[made % len(SCENES)], rng)
        if drawn.key in keys:
            continue
        keys.add(drawn.key)
        made += 1
        yield drawn


def sample_plays() -> dict[str, list[Play]]:
    """The plays of `train.csv`, `dev.csv` and `test.csv`, each split in a shuffled order."""
    rng = Random(SEED)
    keys: set[tuple[str, ...]] = set()
    splits = {split: list(unseen_plays(rng, size, keys)) for split, size in SIZES.items()}
    for plays in splits.values():
        rng.shuffle(plays)
    return splits


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.write_text("".join(map(csv_line, [header, *rows])), encoding="utf-8", newline="")


def write_samples(folder: Path) -> None:
    """Write train/dev/test.csv and sample_submission.csv into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = Random(SEED + 1)
    splits = sample_plays()
    for split in ("train", "dev"):
        rows = [[f"{split}_{i}", p.dialogue, rng.choice(p.summaries), p.topic] for i, p in enumerate(splits[split])]
        write_csv(folder / f"{split}.csv", ["fname", "dialogue", "summary", "topic"], rows)
    tests = list(enumerate(splits["test"]))
    write_csv(
        folder / "test.csv",
        ["fname", "dialogue", "summary1", "summary2", "summary3", "topic"],
        [[f"test_{i}", p.dialogue, *p.summaries, p.topic] for i, p in tests],
    )
    write_csv(folder / "sample_submission.csv", ["fname", "summary"], [[f"test_{i}", ""] for i, _ in tests])


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "data")
