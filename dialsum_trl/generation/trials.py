"""Trials of a decoding sweep: a journal that survives a kill, and how much the best of them gains.

A trial is `{"setting", "rouge", "tokens", "hit_limit", "seconds"}`; see `decoding_sweep.plan` for settings.
"""

import os
from pathlib import Path

import numpy as np

from dialsum_trl.core.console import say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.journal import Journal, read
from dialsum_trl.metrics.rouge import bootstrap_interval
from dialsum_trl.metrics.row_scores import TOTAL

BASE = "none"  # the base model without an adapter
PROMPTS = {"instruction": "instruction", "system_prompt": "system", "speech_rules": "rules"}  # axis -> its name


class Trials(Journal):
    """`trials.jsonl`: what the trials depend on, then one line per finished setting.

    Raises:
        InputError: the file belongs to another sweep; the message names what differs.
    """

    def __init__(self, path: Path, depends_on: dict):
        if (entries := read(path)) and entries[0] != depends_on:
            different = ", ".join(key for key in depends_on if entries[0].get(key) != depends_on[key])
            raise InputError(f"{path}: belongs to a sweep with other {different}; choose another --output_dir")
        super().__init__(path, depends_on)

    def find(self, setting: dict) -> dict | None:
        """The trial of a setting."""
        return next((trial for trial in self.done if trial["setting"] == setting), None)


def once_each(adapters: list[str]) -> list[str]:
    """The adapters in their order, folders by one name each, whichever way their paths are written."""
    return list(dict.fromkeys(os.path.realpath(each) if os.path.isdir(each) else each for each in adapters))


def compare_trials(trials: list[dict], bootstrap: int) -> dict:
    """What the best trial gains on the usual one (the first), in points of the ROUGE mean, or of NIKL's total.

    The best of many is flattered by the rows it was chosen on. `held_out` is the gain without that: the setting
    chosen on every second row, scored on the others, and the other way round, averaged.

    Returns:
        `{"best": index, "deltas": [...], "intervals": [...], "held_out": float}`; intervals are 95 %, paired.
    """
    rows = np.array([_compared(trial) for trial in trials])  # (trials, rows)
    differences = rows - rows[0]
    halves = (slice(0, None, 2), slice(1, None, 2))
    held_out = [
        differences[int(rows[:, one].mean(axis=1).argmax()), other].mean()
        for one, other in (halves, halves[::-1])
        if rows[:, other].size
    ]
    return {
        "best": int(rows.mean(axis=1).argmax()),
        "deltas": differences.mean(axis=1).tolist(),
        "intervals": [bootstrap_interval(each, bootstrap) if bootstrap else None for each in differences],
        "held_out": float(np.mean(held_out)) if held_out else 0.0,
    }


def _compared(trial: dict) -> list[float]:
    """The score of each row by which trials are compared."""
    return (total_of(trial) or {}).get("per_row") or np.mean(trial["rouge"]["per_row"], axis=1)


def total_of(trial: dict) -> dict | None:
    """NIKL's total of a trial, where it was scored."""
    return next((one for one in trial.get("model_scores", ()) if one["name"] == TOTAL), None)


def describe(setting: dict) -> str:
    """One setting in a line."""
    words = [f"{setting['num_beams']} beams" if setting["num_beams"] > 1 else "greedy"]
    if setting["num_beams"] > 1:
        words.append(f"length penalty {setting['length_penalty']:g}")
    if setting["no_repeat_ngram_size"]:
        words.append(f"no repeated {setting['no_repeat_ngram_size']}-grams")
    words.append(f"{setting['max_new_tokens']} tokens")
    for axis, name in PROMPTS.items():
        if setting.get(axis) is not None:
            words.append(f"{name} {_line(setting[axis])}")
    return f"{adapter_name(setting)}, {', '.join(words)}"


def adapter_name(setting: dict) -> str:
    """The folder of the setting's adapter, or `base`."""
    return "base" if setting["adapter"] == BASE else Path(setting["adapter"]).name


def _line(text: str) -> str:
    return text.replace("\n", "\\n")


def print_trials(trials: list[dict], gain: dict, dev_file: str) -> None:
    """The table, best first, and what to make of it."""
    several = len({trial["setting"]["adapter"] for trial in trials}) > 1
    texts: dict[str, dict[str, int]] = {}  # of each prompt axis that is swept: text -> its number
    for axis in PROMPTS:
        if axis in trials[0]["setting"]:
            swept = dict.fromkeys(trial["setting"][axis] for trial in trials if trial["setting"][axis] is not None)
            texts[axis] = {text: number for number, text in enumerate(swept, start=1)}
    lines = []
    for index in sorted(range(len(trials)), key=lambda i: -np.mean(_compared(trials[i]))):
        trial, setting, span = trials[index], trials[index]["setting"], gain["intervals"][index]
        change = f"{gain['deltas'][index]:+.2f}" + (" [{:.1f}, {:.1f}]".format(*span) if span else "")
        penalty = f"{setting['length_penalty']:g}" if setting["num_beams"] > 1 else ""
        cells = [setting["num_beams"], penalty, setting["no_repeat_ngram_size"] or "", setting["max_new_tokens"]]
        cells += [texts[axis].get(setting[axis], "own") for axis in texts]
        cells += [f"{one['mean']:.2f}" for one in trial.get("model_scores", ())]
        cells += [f"{trial['rouge']['mean']:.2f}", change if index else "usual", f"{100 * trial['hit_limit']:.1f}"]
        lines.append((*([adapter_name(setting)] if several else []), *cells))
    rouge, others = trials[0]["rouge"], [one["name"] for one in trials[0].get("model_scores", ())]
    title = f"ROUGE mean on {rouge['n']} rows of {dev_file}; constant line {rouge['floor']['mean']:.2f}"
    names = (*(["adapter"] if several else []), "beams", "len", "ngram", "limit", *(PROMPTS[axis] for axis in texts))
    names = (*names, *others, "mean", "change [95 %]", "cut %")
    filled = [index for index in range(len(names)) if any(line[index] != "" for line in lines)]
    table(title, [[line[index] for index in filled] for line in lines], [names[index] for index in filled])
    for axis in texts:
        for text, number in texts[axis].items():
            say(f"{PROMPTS[axis]} {number}: {_line(text)}")
    best = gain["best"]
    say(f"chosen: {describe(trials[best]['setting'])}")
    if best and gain["intervals"][best] and gain["intervals"][best][0] <= 0:
        say("its gain is not clear of 0: on these rows the usual setting is as good")
    scale = TOTAL if others and total_of(trials[0]) else "ROUGE mean"
    say(f"gain of choosing, on rows that did not choose: {gain['held_out']:+.2f} {scale}")
