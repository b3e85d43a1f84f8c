"""Each of the four recipes takes optimizer steps on random weights of its true shape, in its own dtype.

    python -m benchmarks.recipes_on_gpu --jobs 4   # one GPU of 80 GB, all four at the same time
    python -m benchmarks.recipes_on_gpu --smoke    # CPU, toy shapes

Nothing is bypassed: the recipe's own file, 4-bit loading, the default path, the NaN filter off. A step whose loss or
gradient norm is not finite and positive fails the run.
"""

import argparse
import csv
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from transformers import AutoTokenizer

from benchmarks.shapes import lengths, write_result
from dialsum_trl.data import read_dialogues

ROOT = Path(__file__).resolve().parents[1]
# recipe -> true shape, smoke shape, --memory_gib that it is given and must stay within (reserved)
RECIPES = {
    "sft_llama3b": ("llama3b", "smoke", 8),
    "sft_qwen3_4b": ("qwen3_4b", "smoke_qwen3", 10),
    "sft_llama8b": ("llama8b", "smoke", 16),
    "sft_qwen25_7b": ("qwen25_7b", "smoke_qwen2", 16),
}


def write_rows(path: Path, tokenizer_folder: Path, rows: int) -> None:
    """A CSV whose encoded dialogues have the lengths of real ones (the toy sentences repeated and cut)."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    turns = [t for d in read_dialogues(ROOT / "dialsum_trl/tiny/data/train.csv")["dialogue"] for t in d.split("\n")]
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


def run(recipe: str, steps: int, smoke: bool, folder: Path, limit_s: float, extra: list[str]) -> dict:
    """Runs one recipe in its own process and returns its figures; says at once when it fails."""
    try:
        return figures(recipe, steps, smoke, folder, limit_s, extra)
    except (subprocess.SubprocessError, RuntimeError) as error:
        print(f"{recipe} FAILED: {error}", flush=True)
        return {"variant": recipe, "failed": str(error)[-500:]}


def figures(recipe: str, steps: int, smoke: bool, folder: Path, limit_s: float, extra: list[str]) -> dict:
    true_shape, smoke_shape, limit = RECIPES[recipe]
    shape = smoke_shape if smoke else true_shape
    started = time.time()
    folder = folder / recipe
    model = folder / "model"
    maker = [sys.executable, "-m", "benchmarks.shapes", shape, str(model)]
    subprocess.run(
        maker, check=True, cwd=ROOT, capture_output=True, timeout=limit_s
    )  # its own process: the GPU is free again behind it
    write_rows(folder / "rows.csv", model, 64 * steps)
    built = time.time() - started
    output = folder / "adapter"
    command = [
        sys.executable, str(ROOT / "recipes" / f"{recipe}.py"),
        "--model_name_or_path", str(model), "--train_file", str(folder / "rows.csv"), "--output_dir", str(output),
        "--memory_gib", str(limit),
        "--max_steps", str(steps), "--logging_steps", "1", "--save_strategy", "no", "--disable_tqdm", "true",
        "--warmup_steps", "0", *extra,
    ]  # fmt: skip
    if smoke:
        command += ["--use_cpu", "true", "--dtype", "float32"]
    log = folder / "log"
    with log.open("w") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, timeout=limit_s)
    printed = log.read_text(errors="replace")
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}\n{printed[-4000:]}")
    state = json.loads((output / "trainer_state.json").read_text())
    steps_logged = [entry for entry in state["log_history"] if "grad_norm" in entry]
    losses, norms = [e["loss"] for e in steps_logged], [e["grad_norm"] for e in steps_logged]
    bad = [s for s, (loss, norm) in enumerate(zip(losses, norms, strict=True), 1)
           if not (math.isfinite(loss) and math.isfinite(norm) and norm > 0)]  # fmt: skip
    if len(steps_logged) != steps or bad:
        raise RuntimeError(
            f"{len(steps_logged)} of {steps} steps logged, not finite or zero at {bad}: {losses} {norms}"
        )
    peak = float(next(line.split()[-1] for line in printed.splitlines() if "peak GPU memory" in line))
    shutil.rmtree(model)
    if not smoke and peak > limit:
        print(f"{recipe}: {peak} GiB reserved, the bar is {limit}")
    return {
        "variant": recipe, "shape": shape, "losses": losses, "grad_norms": norms, "peak_reserved_gib": peak,
        "memory_gib": limit, "build_seconds": round(built, 1), "seconds": round(time.time() - started, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="toy shapes on the CPU; writes no result file")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="recipes at the same time")
    parser.add_argument("--limit", type=float, default=240, help="seconds for each of build and training")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    arguments, extra = parser.parse_known_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        todo = [
            pool.submit(run, recipe, arguments.steps, arguments.smoke, Path(folder), arguments.limit, extra)
            for recipe in arguments.recipes
        ]
        for job in as_completed(todo):
            rows.append(job.result())
            print(json.dumps(rows[-1]), flush=True)
    if failed := [row["variant"] for row in rows if "failed" in row]:
        raise SystemExit(f"failed: {', '.join(failed)}")
    if not arguments.smoke:
        write_result("recipes_on_gpu", rows)


if __name__ == "__main__":
    main()
