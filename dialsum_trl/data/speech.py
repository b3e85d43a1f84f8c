"""Rules for transcribed speech, each off unless it is named: what a dialogue loses before a model reads it.

A turn of which nothing but its speaker would be left stays as it is. Summaries are never changed.
"""

import re

from dialsum_trl.data.patterns import SPOKEN

_FILLER = re.compile(r"(?<!\S)[가-힣]~+[,.]?(?=\s|$)")  # 어~ 그~ 음~
_REPEATED = re.compile(r"(?<!\S)(\S+(?:[^\S\n]+\S+){0,3})(?:[^\S\n]+\1)+(?!\S)")  # up to four words, said again
_UNHEARD = re.compile(r"(?<!\S)x+(?=\s|$)")  # NIKL writes xx for what was not heard

RULES = {
    "fillers": lambda said: _FILLER.sub("", said),
    "repeats": lambda said: _REPEATED.sub(r"\1", said),
    "unheard": lambda said: _UNHEARD.sub("", said),
}


def clean_speech(dialogue: str, rules: tuple[str, ...]) -> str:
    """The dialogue with each turn changed by the rules named, in their order.

    Args:
        rules: names in `RULES`.
    """
    return "\n".join(_clean_turn(turn, rules) for turn in dialogue.split("\n")) if rules else dialogue


def _clean_turn(turn: str, rules: tuple[str, ...]) -> str:
    head, said = "", turn
    if SPOKEN.match(turn):
        colon = re.search("[:：]", turn).end()
        head, said = turn[:colon], turn[colon:]
    cleaned = said
    for rule in rules:
        cleaned = RULES[rule](cleaned)
    cleaned = " ".join(cleaned.split())
    return f"{head} {cleaned}".strip() if cleaned else turn
