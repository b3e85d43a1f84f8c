"""Recipes run as a user types them, on rows of real lengths, each line of their output with its time."""

import ast
import csv
import functools
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.shapes import lengths
from dialsum_trl.data.dialogues import read_dialogues

ROOT = Path(__file__).resolve().parents[1]


def environment(**more: str) -> dict:
    """This process' environment, offline, with the project importable."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    fixed = dict(PYTHONUNBUFFERED="1", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", PYTHONPATH=path)
    return {**os.environ, **fixed, **more}


def build_in_process(shape: str, folder: Path) -> None:
    """Random weights of a shape in `folder`, made in a separate process, so that the GPU is free again afterwards."""
    maker = [sys.executable, "-m", "benchmarks.shapes", shape, str(folder)]
    subprocess.run(maker, check=True, cwd=ROOT, env=environment())


def write_rows(path: Path, tokenizer_folder: Path, rows: int) -> None:
    """A CSV whose encoded dialogues have the lengths of real ones (the toy sentences repeated and cut)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    turns = [t for d in read_dialogues(ROOT / "dialsum_trl/toy/data/train.csv")["dialogue"] for t in d.split("\n")]
    sizes = [len(tokenizer(turn).input_ids) for turn in turns]
    at = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["fname", "dialogue", "summary"])
        for index, (prompt, completion) in enumerate(zip(*lengths(rows), strict=True)):
            dialogue, used = [], 60  # the header and the instruction
            while not dialogue or used < prompt:
                dialogue.append(turns[at % len(turns)])
                used += sizes[at % len(turns)]
                at += 1
            summary = " ".join(turn.split(": ", 1)[-1] for turn in dialogue)
            ids = tokenizer(summary, add_special_tokens=False).input_ids[: max(4, completion)]
            writer.writerow([f"row_{index}", "\n".join(dialogue), tokenizer.decode(ids).strip("\ufffd ") or "요약"])


@functools.cache
def tokens_per_step(rows: Path, model: Path, rows_per_step: int) -> list[int]:
    """Tokens of each optimizer step's rows, without padding; the same for every number of processes."""
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.prompts.sft_rows import encode_dataset
    from dialsum_trl.prompts.tokenizer import load_tokenizer
    from dialsum_trl.training.plan.schedule import Schedule

    tokenizer = load_tokenizer(str(model))
    encoded, _ = encode_dataset(read_dialogues(str(rows)), tokenizer, stop_token_ids(tokenizer), 1024)
    sizes = [len(ids) for ids in encoded["input_ids"]]
    return [sum(sizes[row] for row in step) for step in Schedule(sizes, rows_per_step, 1, seed=42).epoch(0)]


def recipe_command(recipe: str, settings: dict) -> list[str]:
    """The recipe's own file with settings as its flags."""
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    return [sys.executable, str(ROOT / "recipes" / f"{recipe}.py"), *flags]


def stop(pid: int) -> None:
    """Kills a process and all below it; a launcher's workers are in sessions of their own."""
    import psutil

    top = psutil.Process(pid)
    for process in [*top.children(recursive=True), top]:
        process.kill()


def run_timed(command: list, log: Path, limit: float, env: dict | None = None) -> list[tuple[float, str]]:
    """Runs a command; returns `(seconds since the start, line)` of its output, also written to `log` as it comes.

    Raises:
        SystemExit: it failed or took longer than `limit` seconds; the end of its output is in the message.
    """
    started, lines = time.monotonic(), []
    child = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env or environment(), cwd=ROOT,
        start_new_session=True, errors="replace",
    )  # fmt: skip
    timer = threading.Timer(max(1.0, limit), stop, (child.pid,))
    timer.start()
    with log.open("w") as file:
        for line in child.stdout:
            lines.append((time.monotonic() - started, line.rstrip()))
            file.write(f"{lines[-1][0]:8.2f} {line}")
            file.flush()
    timer.cancel()
    if child.wait() != 0:
        tail = [line for _, line in lines if "rror" in line][:6] + [line for _, line in lines[-12:]]
        raise SystemExit(f"failed after {time.monotonic() - started:.0f} s of {limit:.0f}:\n" + "\n".join(tail))
    return lines


def logged_steps(lines: list[tuple[float, str]], steps: int, every: int = 1) -> tuple[list, list, list]:
    """Times, losses and gradient norms of the trainer's lines, one each `every` steps (`--logging_steps`).

    Between them the recipe itself stops at a loss or norm that is not finite.

    Raises:
        SystemExit: steps are missing, or a loss or norm is not finite and positive.
    """
    found = [(seconds, ast.literal_eval(line)) for seconds, line in lines if line.startswith("{'loss'")]
    losses, norms = ([float(entry[key]) for _, entry in found] for key in ("loss", "grad_norm"))
    if len(found) != steps // every or not all(math.isfinite(value) and value > 0 for value in losses + norms):
        raise SystemExit(f"{len(found)} lines of {steps // every}; losses {losses}, gradient norms {norms}")
    return [seconds for seconds, _ in found], losses, norms
