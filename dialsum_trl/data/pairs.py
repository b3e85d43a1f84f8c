"""Preference pairs: rows `prompt, chosen, rejected, margin, kind` of a JSONL, CSV or any other file of rows.

`prompt` is a dialogue, `chosen` and `rejected` are summaries of it, as texts or as TRL's messages; the prompt may stand
in `chosen` and `rejected`. `margin` (how much better) and `kind` (where the pair came from) may be absent: pairs judged
by people are read in the same form.
"""

import math
import random
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.cleaning import blank, clean_dialogue, unwritable
from dialsum_trl.data.layouts import messages, without_instruction
from dialsum_trl.data.tables import read_table

TEXTS = ("prompt", "chosen", "rejected")


def read_pairs(path: str | Path) -> list[dict]:
    """All pairs of a file: `prompt` cleaned, `margin` None and `kind` "human" where they are absent.

    Raises:
        InputError: what `tables.read_table` refuses; a missing or empty text, chosen and rejected alike, with file,
            row and field.
    """
    path, pairs = Path(path), []
    for row in read_table(path):
        where = f"{path}: {row.place}"
        values = _texts_of_messages(row.values)
        texts = {name: _text(where, values, name) for name in TEXTS}
        prompt = clean_dialogue(texts.pop("prompt"))
        if not prompt:
            raise InputError(f"{where}: 'prompt' must be a text that is not empty")
        if texts["chosen"] == texts["rejected"]:
            raise InputError(f"{where}: chosen and rejected are the same text; leave the pair out")
        margin, kind = _number(values.get("margin")), values.get("kind") or "human"
        if margin is not None and (not isinstance(margin, int | float) or not math.isfinite(margin)):
            raise InputError(f"{where}: 'margin' must be a number or absent")
        pairs.append({"prompt": prompt, **texts, "margin": margin, "kind": kind})
    return pairs


def _texts_of_messages(values: dict) -> dict:
    """The row with texts for lists of messages: the user's turns without an instruction, the assistant's last."""
    values = dict(values)
    for name in ("chosen", "rejected"):
        if messages(values.get(name)):
            *before, last = values[name]
            values[name] = last["content"]
            values.setdefault("prompt", before)
    if messages(values.get("prompt")):
        asked = [turn["content"] for turn in values["prompt"] if turn["role"] != "system"]
        values["prompt"] = without_instruction("\n".join(asked))
    return values


def _number(value: object) -> object:
    """A cell of a CSV as the number it spells, None where it is empty; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value) if value.strip() else None
    except ValueError:
        return value


def _text(where: str, values: dict, name: str) -> str:
    text = values.get(name)
    if not isinstance(text, str) or blank(text):
        raise InputError(f"{where}: '{name}' must be a text that is not empty")
    if unwritable(text):
        raise InputError(f"{where}: '{name}' holds a NUL or half a surrogate pair; export the row again")
    return text.strip()


def hold_out(pairs: list[dict], share: float, seed: int) -> tuple[list[dict], list[dict]]:
    """Training and held-out pairs; all pairs of a dialogue are on one side.

    Args:
        share: of the dialogues that are held out, 0 to 1.
    """
    dialogues = list(dict.fromkeys(pair["prompt"] for pair in pairs))
    random.Random(seed).shuffle(dialogues)
    held_out = set(dialogues[: round(len(dialogues) * share)])
    sides = [p for p in pairs if p["prompt"] not in held_out], [p for p in pairs if p["prompt"] in held_out]
    if not all(sides):
        count = len(dialogues)
        one = f"give --held_out {math.ceil(100 / count) / 100} to hold out one" if count > 1 else "give more dialogues"
        raise InputError(
            f"--held_out {share}: no such share of the {count} dialogues of --pairs_file leaves pairs on both sides; "
            f"{one}, or held-out pairs as --eval_pairs_file"
        )
    return sides


def read_sides(pairs_file: str | None, eval_pairs_file: str | None, share: float, seed: int) -> tuple[list, list]:
    """Training and held-out pairs from the flags."""
    if not pairs_file:
        raise InputError("no pairs: give --pairs_file pairs.jsonl (recipes/preferences.py makes them)")
    pairs = read_pairs(pairs_file)
    if not eval_pairs_file:
        return hold_out(pairs, share, seed)
    held_out = read_pairs(eval_pairs_file)
    if shared := {p["prompt"] for p in pairs} & {p["prompt"] for p in held_out}:
        raise InputError(
            f"{len(shared)} dialogues of {eval_pairs_file} are in {pairs_file} too: the accuracy would flatter"
        )
    return pairs, held_out


def pair_names(pairs: list[dict]) -> list[str]:
    """How a message names each pair: by how its dialogue begins."""
    return [f"of the dialogue {' '.join(pair['prompt'].split())[:32]!r}" for pair in pairs]


def length_baselines(pairs: list[dict]) -> dict[str, float]:
    """Accuracy of "the longer summary wins" and of "the shorter wins", in characters; a tie is half right."""
    longer = [(len(p["chosen"]) > len(p["rejected"])) + (len(p["chosen"]) == len(p["rejected"])) / 2 for p in pairs]
    share = sum(longer) / len(longer)
    return {"longer wins": share, "shorter wins": 1 - share}
