"""Samples of training rows, kept line by line."""

import json
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset

from dialsum_trl.core.console import is_main_process, say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_json, write_text
from dialsum_trl.core.journal import check_same
from dialsum_trl.core.json_file import parse_json, read_json
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.sharded import summarize_sharded
from dialsum_trl.generation.summarizer import Summarizer
from dialsum_trl.models.identity import digest

SAMPLES_FILE, PAIRS_FILE, SETTINGS_FILE = "samples.jsonl", "pairs.jsonl", "settings.json"
ROWS_AT_A_TIME = 256  # sampled, written, then the next: what a killed run loses at most


def read_samples(path: Path, dialogues: dict[str, str] | None = None) -> dict[str, list[str]]:
    """fname -> samples of an earlier run; a last line cut by a kill is left out.

    Args:
        dialogues: fname -> dialogue; default: whether samples are of these is not looked at.
    """
    samples, remedy = {}, "choose another --output_dir"
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        row = parse_json(line, where, remedy)
        fname = row.get("fname")
        if not {"fname", "summaries"} <= row.keys():
            raise InputError(f"{where}: needs fname and summaries; {remedy}")
        if dialogues and fname not in dialogues:
            raise InputError(f"{where}: {fname} is no row of this --train_file; {remedy}")
        if dialogues and row.get("dialogue") != digest(dialogues[fname]):
            raise InputError(f"{where}: {fname} was sampled from another dialogue; {remedy}")
        samples[fname] = row["summaries"]
    return samples


def check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Saves the settings with the samples; raises InputError if earlier samples were drawn with others."""
    if not path.exists():
        if is_main_process():
            write_json(path, settings)
        return
    earlier = read_json(path, "choose another --output_dir")
    then = {name: earlier.get(name) for name in settings}
    check_same(f"{path.parent}: its samples were drawn with", then, settings)


def sample_rows(
    rows: Dataset,
    done: dict[str, list[str]],
    summarizer: Summarizer,
    settings: GenerationSettings,
    state: PartialState,
    path: Path,
) -> dict[str, list[str]]:
    """Samples every row that `path` does not hold yet, and appends the samples there.

    Args:
        rows: of `data.dialogues.read_dialogues`.
        done: fname -> samples that `path` holds.

    Returns:
        fname -> samples.
    """
    todo = [i for i, fname in enumerate(rows["fname"]) if fname not in done]
    if done:
        say(f"{len(done)} dialogues were sampled before, {len(todo)} remain")
    state.wait_for_everyone()
    if is_main_process() and path.exists():  # without the line that a kill cut
        lines, end, _ = path.read_text(encoding="utf-8").rpartition("\n")
        write_text(path, lines + end)
    for start in range(0, len(todo), ROWS_AT_A_TIME):
        part = rows.select(todo[start : start + ROWS_AT_A_TIME])
        summaries = summarize_sharded(summarizer, part["dialogue"][:], settings, state, topics=part["topic"][:])
        new = {f: [s.text for s in row] for f, row in zip(part["fname"], summaries, strict=True)}
        done = {**done, **new}
        if is_main_process():
            with path.open("a", encoding="utf-8") as file:
                for row in part:
                    line = {"fname": row["fname"], "dialogue": digest(row["dialogue"]), "summaries": new[row["fname"]]}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return done
