"""Warns when training rows give evaluation rows away, beyond the exact copies that `check_disjoint` refuses."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.cleaning import normalized
from dialsum_trl.data.patterns import SYLLABLE, TURN

if TYPE_CHECKING:
    from datasets import Dataset

    from dialsum_trl.data.kept_rows import KeptRows

    Rows = Dataset | KeptRows | list[dict]  # with `fname`, `dialogue` and `summaries`

_SHORTEST_TURN = 12  # letters: shorter turns ("네, 알겠습니다.") are common property
_COMMON = 4  # dialogues: turns that more of them hold are formulas ("무엇을 도와드릴까요, 손님?")
_SHARE_OF_TURNS = 0.5


def contamination_warnings(train: Rows, evaluation: Rows) -> list[str]:
    """One line for each way in which `train` holds `evaluation`; an empty list when nothing was found.

    Looks for rows that are equal (`shared_rows`), for near copies (one training dialogue holds at least half of
    the longer, uncommon turns of an evaluation dialogue), and for English originals of Korean evaluation rows: the
    Korean DialogSum keeps the `fname` of the English one, which its competition bans from training.
    """
    found = [
        ("equal evaluation rows", shared_rows(train, evaluation)),
        ("are near copies of evaluation rows", _near_copies(train, evaluation)),
        ("are the English originals of Korean evaluation rows (same fname)", _originals(train, evaluation)),
    ]
    return [
        f"contamination: {len(pairs)} training rows {what}, for example {pairs[0][0]} and {pairs[0][1]}; "
        "scores on these rows say nothing about new dialogues"
        for what, pairs in found
        if pairs
    ]


def _turns(dialogue: str) -> set[int]:
    """Hashes of its turns."""
    turns = (normalized(TURN.sub("", line)) for line in dialogue.split("\n"))
    return {hash(turn) for turn in turns if len(turn) >= _SHORTEST_TURN}


def _near_copies(train: Rows, evaluation: Rows) -> list[tuple[str, str]]:
    turns = [_turns(row["dialogue"]) for row in evaluation]
    names = [row["fname"] for row in evaluation]
    times = Counter(turn for each in turns for turn in each)
    for row in train:
        times.update(turn for turn in _turns(row["dialogue"]) if turn in times)
    holders: dict[int, list[int]] = {}
    for index, each in enumerate(turns):
        for turn in each:
            if times[turn] <= _COMMON:
                holders.setdefault(turn, []).append(index)
    needed = [max(2, _SHARE_OF_TURNS * sum(times[turn] <= _COMMON for turn in each)) for each in turns]
    equal = {name for name, _ in shared_rows(train, evaluation)}
    pairs = []
    for row in train:
        hits = Counter(index for turn in _turns(row["dialogue"]) for index in holders.get(turn, ()))
        close = next((index for index, count in hits.most_common() if count >= needed[index]), None)
        if close is not None and row["fname"] not in equal:
            pairs.append((row["fname"], names[close]))
    return pairs


def _originals(train: Rows, evaluation: Rows) -> list[tuple[str, str]]:
    korean = {row["fname"] for row in evaluation if SYLLABLE.search(row["dialogue"])}
    return [
        (row["fname"], row["fname"]) for row in train if row["fname"] in korean and not SYLLABLE.search(row["dialogue"])
    ]


def shared_rows(train: Rows, evaluation: Rows) -> list[tuple[str, str]]:
    """`(train fname, evaluation fname)` of training rows that an evaluation set also holds.

    A row is shared when the dialogues are equal in letters and digits, or when `fname` and a reference are equal.
    """
    by_dialogue, by_reference = {}, {}
    for row in evaluation:
        by_dialogue[hash(normalized(row["dialogue"]))] = row["fname"]
        by_reference.update({(row["fname"], hash(text.strip())): row["fname"] for text in row["summaries"]})
    pairs = []
    for row in train:
        named = (by_reference.get((row["fname"], hash(text.strip()))) for text in row["summaries"])
        match = by_dialogue.get(hash(normalized(row["dialogue"]))) or next(filter(None, named), None)
        if match is not None:
            pairs.append((row["fname"], match))
    return pairs


def drop_shared(train: Dataset, evaluation: Rows) -> tuple[Dataset, list[tuple[str, str]]]:
    """`train` without its `shared_rows`, and the pairs that those returned."""
    pairs = shared_rows(train, evaluation)
    shared = {name for name, _ in pairs}
    return train.select([i for i, name in enumerate(train["fname"]) if name not in shared]), pairs


def check_disjoint(train: Rows, evaluation: Rows) -> None:
    """Raises InputError when training and evaluation rows overlap (see `shared_rows`)."""
    pairs = shared_rows(train, evaluation)
    if pairs:
        shown = ", ".join(f"{left} = {right}" for left, right in pairs[:3]) + (", ..." if len(pairs) > 3 else "")
        raise InputError(
            f"{len(pairs)} training rows are also evaluation rows ({shown}), so the evaluation would flatter the "
            "model; remove them from the training file, or add --drop_shared_rows true"
        )
