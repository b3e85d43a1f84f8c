"""Warns when training rows give evaluation rows away, beyond the exact copies that `data.check_disjoint` refuses."""

import re

from dialsum_trl.cleaning import normalized
from dialsum_trl.data import shared_rows

_HANGUL = re.compile("[가-힣]")
_TURN_HEAD = re.compile(r"^#Person\d+#:\s*")
_SHORTEST_TURN = 12  # letters: shorter turns ("네, 알겠습니다.") are common property
_SHARE_OF_TURNS = 0.5


def contamination_warnings(train, evaluation) -> list[str]:
    """One line for each way in which `train` holds `evaluation`; an empty list when nothing was found.

    Looks for rows that are equal (`data.shared_rows`), for near copies (at least half of the longer turns of an
    evaluation dialogue in one training dialogue), and for English originals of Korean evaluation rows: the Korean
    DialogSum keeps the `fname` of the English one, which its competition bans from training.
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
    holders: dict[str, list[int]] = {}
    sizes, names, whole = [], [], []
    for index, row in enumerate(evaluation):
        turns = _turns(row["dialogue"])
        sizes.append(len(turns))
        names.append(row["fname"])
        whole.append(normalized(row["dialogue"]))
        for turn in turns:
            holders.setdefault(turn, []).append(index)
    pairs = []
    for row in train:
        hits: dict[int, int] = {}
        for turn in _turns(row["dialogue"]):
            for index in holders.get(turn, ()):
                hits[index] = hits.get(index, 0) + 1
        close = [index for index, count in hits.items() if count >= max(2, _SHARE_OF_TURNS * sizes[index])]
        if close and normalized(row["dialogue"]) not in {whole[index] for index in close}:
            pairs.append((row["fname"], names[close[0]]))
    return pairs


def _originals(train, evaluation):
    korean = {row["fname"] for row in evaluation if _HANGUL.search(row["dialogue"])}
    return [
        (row["fname"], row["fname"]) for row in train if row["fname"] in korean and not _HANGUL.search(row["dialogue"])
    ]
