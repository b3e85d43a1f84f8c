"""Warns when training rows give evaluation rows away, beyond the exact copies that `data.check_disjoint` refuses."""

import re
from collections import Counter

from dialsum_trl.corpus.cleaning import normalized
from dialsum_trl.data import shared_rows

_HANGUL = re.compile("[가-힣]")
_TURN_HEAD = re.compile(r"^#Person\d+#:\s*")
_SHORTEST_TURN = 12  # letters: shorter turns ("네, 알겠습니다.") are common property
_COMMON = 4  # dialogues: turns that more of them hold are formulas ("무엇을 도와드릴까요, 손님?")
_SHARE_OF_TURNS = 0.5


def contamination_warnings(train, evaluation) -> list[str]:
    """One line for each way in which `train` holds `evaluation`; an empty list when nothing was found.

    Looks for rows that are equal (`data.shared_rows`), for near copies (one training dialogue holds at least half of
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


def _turns(dialogue):
    turns = (normalized(_TURN_HEAD.sub("", line)) for line in dialogue.split("\n"))
    return {turn for turn in turns if len(turn) >= _SHORTEST_TURN}


def _near_copies(train, evaluation):
    train_turns, turns = ([_turns(row["dialogue"]) for row in rows] for rows in (train, evaluation))
    times = Counter(turn for each in (*train_turns, *turns) for turn in each)
    holders: dict[str, list[int]] = {}
    for index, each in enumerate(turns):
        for turn in each:
            if times[turn] <= _COMMON:
                holders.setdefault(turn, []).append(index)
    needed = [max(2, _SHARE_OF_TURNS * sum(times[turn] <= _COMMON for turn in each)) for each in turns]
    equal = {name for name, _ in shared_rows(train, evaluation)}
    pairs = []
    for row, each in zip(train, train_turns, strict=True):
        hits = Counter(index for turn in each for index in holders.get(turn, ()))
        close = next((index for index, count in hits.most_common() if count >= needed[index]), None)
        if close is not None and row["fname"] not in equal:
            pairs.append((row["fname"], evaluation[close]["fname"]))
    return pairs


def _originals(train, evaluation):
    korean = {row["fname"] for row in evaluation if _HANGUL.search(row["dialogue"])}
    return [
        (row["fname"], row["fname"]) for row in train if row["fname"] in korean and not _HANGUL.search(row["dialogue"])
    ]
