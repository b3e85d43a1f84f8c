"""A dialogue that is too long loses its middle: whole turns first, then the middle of the longest one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.patterns import MASK
from dialsum_trl.prompts.control_tokens import neutralize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEAD = re.compile(r"[^\s:]{1,40}:\s*")  # who speaks a turn
Encode = Callable[[str], list[int]]  # a dialogue -> the ids of its prompt


@dataclass
class Fitted:
    """A dialogue that fits. `dropped` holds the indices of the turns left out; `cut` says one turn was shortened."""

    text: str
    prompt_ids: list[int]
    dropped: tuple[int, ...] = ()
    cut: bool = False

    @property
    def shortened(self) -> bool:
        """Whether anything was left out."""
        return bool(self.dropped) or self.cut


def shorten(tokenizer: PreTrainedTokenizerBase, dialogue: str, encode: Encode, budget: int) -> Fitted:
    """Shortens a dialogue until `encode(dialogue)` has at most `budget` ids.

    Turns are dropped from the middle outwards; the first and the last turn stay. When two turns alone are too long, the
    longer one loses its middle.
    """
    ids = encode(dialogue)
    if len(ids) <= budget:
        return Fitted(dialogue, ids)
    if (bare := len(encode(""))) >= budget:
        raise InputError(
            f"a prompt without any dialogue has {bare} tokens, {max(0, budget)} are left for it: raise --max_length "
            f"(an encoder's --max_source_length), or lower --max_new_tokens, --rouge_max_new_tokens or "
            f"--max_completion_length"
        )

    turns = dialogue.split("\n")
    sizes = [len(tokenizer(turn + "\n", add_special_tokens=False).input_ids) for turn in turns]
    middle = (len(turns) - 1) / 2
    order = sorted(range(1, len(turns) - 1), key=lambda i: (abs(i - middle), i))
    excess, dropped = len(ids) - budget, set()
    while order and excess > 0:
        turn = order.pop(0)
        dropped.add(turn)
        excess -= sizes[turn]
        if excess <= 0:  # an estimate: neighbours may merge into other tokens
            excess = len(encode("\n".join(t for i, t in enumerate(turns) if i not in dropped))) - budget
    kept = [t for i, t in enumerate(turns) if i not in dropped]
    text = neutralize(tokenizer, "\n".join(kept))
    ids = encode(text)
    if len(ids) <= budget:
        return Fitted(text, ids, tuple(sorted(dropped)))
    return _cut_longest(tokenizer, kept, encode, budget, tuple(sorted(dropped)))


def _cut_longest(
    tokenizer: PreTrainedTokenizerBase,
    turns: list[str],
    encode: Encode,
    budget: int,
    dropped: tuple[int, ...],
) -> Fitted:
    """Takes characters out of the middle of the longest turn (of every turn, if one is not enough).

    The speaker at its head and masks stay whole or go whole. The two halves may spell a control token where they meet:
    what is encoded is neutralized again.
    """

    def joined() -> str:
        return neutralize(tokenizer, "\n".join(turns))

    for longest in sorted(range(len(turns)), key=lambda i: -len(turns[i])):
        whole = turns[longest]
        low, high = 0, len(whole)  # characters kept; encode() with `low` of them is known or assumed to fit
        while low < high:
            keep = (low + high + 1) // 2
            turns[longest] = _without_middle(whole, keep)
            if len(encode(joined())) <= budget:
                low = keep
            else:
                high = keep - 1
        turns[longest] = _without_middle(whole, low)
        text = joined()
        ids = encode(text)
        if len(ids) <= budget:
            return Fitted(text, ids, dropped, cut=True)
    raise InputError(f"the dialogue cannot be shortened to {budget} tokens")


def _without_middle(turn: str, keep: int) -> str:
    """At most `keep` characters of a turn, its ends; nothing where the speaker at its head would be cut."""
    if keep >= len(turn):
        return turn
    left, right = (keep + 1) // 2, len(turn) - keep // 2
    if (head := HEAD.match(turn)) and left < head.end():
        return ""
    for mask in MASK.finditer(turn):
        if mask.start() < left < mask.end():
            left = mask.start()
        if mask.start() < right < mask.end():
            right = mask.end()
    return turn[:left] + turn[right:]
