"""What smaller and older cards train: one large GPU is limited to their memory and, as a T4, to their abilities.

    python -m benchmarks.old_cards            # one GPU of 140 GB, 16 cores, 64 GB of RAM disk; about 6 minutes
    python -m benchmarks.old_cards --smoke    # CPU, toy shapes

`--speed`, as a T4 (no FlashAttention, no bfloat16, its tiles): fp16 gradients of the 3B shape against float32, and
tokens per second of plain TRL and ours under the same handicap. Then the recipes within budgets that `as_card`
enforces, several processes at a time, so their seconds say nothing; last, in 14.5 GiB, predict, reward and PPO of 3B.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks import sft_equality, sft_speed
from benchmarks.record import write_result
from benchmarks.runner import ROOT, build_in_process, run_timed, write_rows
from dialsum_trl.data.dialogues import read_dialogues

SHAPES = {"sft_llama3b": "llama3b", "sft_qwen3_4b": "qwen3_4b", "sft_llama8b": "llama8b", "sft_qwen25_7b": "qwen25_7b"}
SMOKE = {"llama3b": "smoke", "qwen3_4b": "smoke_qwen3", "llama8b": "smoke", "qwen25_7b": "smoke_qwen2"}
ABILITIES = {7.5: "8.9", 11.0: "8.6", 14.5: "7.5", 23.0: "8.6"}  # budget, GiB -> capability: 4060, 3060, T4, 3090
SMALL = ("sft_llama3b", "sft_qwen3_4b")
RUNS = (
    [(name, gib) for gib in (7.5, 11.0, 14.5) for name in SHAPES if gib > 7.5 or name in SMALL],
    [(name, 23.0) for name in SHAPES if name not in SMALL],
)
CONTEXT = """
import torch
free, total = torch.cuda.mem_get_info()
x = torch.randn(64, 64, device="cuda", dtype=torch.float16)
(x @ x).sum().item()
print((total - torch.cuda.mem_get_info()[0] - torch.cuda.memory_reserved()) / 2**30)
"""


def speed(path: str, smoke: bool) -> list[dict]:
    """Gradients and speed of both paths in this process, which `as_card` has made a T4."""
    sft_equality.HALF = "float16"
    sizes = sft_speed.SHAPES["smoke" if smoke else "llama3b"][1]
    rows = sft_speed.make_rows(32 if smoke else 256, min(sizes["vocab_size"], 128000) - 300)
    found = [{"variant": "gradients in float16", **sft_equality.equality(path, rows, smoke)}]
    print(json.dumps(found[0]), flush=True)
    half = {} if smoke else dict(bf16=False, fp16=True)
    sft_speed.VARIANTS |= {"plain": (1, 1, None), "ours_16gib": (2, 2, 14.5)}
    for variant in ("plain", "ours_16gib"):
        found.append({"variant": variant, **sft_speed.run(path, variant, rows, smoke, **half)})
        print(json.dumps(found[-1]), flush=True)
    found[-1]["times_plain"] = round(found[-1]["tokens_per_second"] / found[-2]["tokens_per_second"], 2)
    return found


class Budgets:
    """Runs of recipes within budgets; each is one row of the results."""

    def __init__(self, folder: Path, smoke: bool, limit: float):
        self.folder, self.smoke, self.limit = folder, smoke, limit
        self.more = ["--use_cpu", "true", "--dtype", "float32"] if smoke else []

    def build(self, recipe: str) -> None:
        """The model of a recipe."""
        shape, place = SHAPES[recipe], self.folder / recipe
        place.mkdir()
        build_in_process(SMOKE[shape] if self.smoke else shape, place / "model")

    def run(self, name: str, gib: float, script: str, flags: list) -> dict:
        """One command as a card of that memory and ability."""
        command = [
            sys.executable, "-m", "benchmarks.as_card", "--gib", gib, "--capability", ABILITIES[gib],
            ROOT / "recipes" / script, *flags, *self.more,
        ]  # fmt: skip
        started, row = time.monotonic(), {"variant": f"{name}, {gib} GiB", "capability": ABILITIES[gib], "gib": gib}
        try:
            lines = [line for _, line in run_timed(command, self.folder / f"{name}_{gib}.log", self.limit)]
        except SystemExit as error:
            lines, row["failed"] = [], str(error)[-1500:]
        row["peak_reserved_gib"] = next((json.loads(x[8:])["peak_reserved_gib"] for x in lines if "AS_CARD" in x), None)
        telling = ("Plan", "Packed", "Padded", "Fused", "float16 for", "the base stays")
        row["said"] = [line for line in lines if line.startswith(telling)]
        row["losses"] = [x for line in lines for x in re.findall(r"'loss': '?(-?[\d.e+-]+|nan|inf)", line)]
        row["seconds"] = round(time.monotonic() - started, 1)
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return row

    def sft(self, recipe: str, gib: float) -> dict:
        """Two steps of a recipe."""
        place = self.folder / recipe
        flags = [
            "--model_name_or_path", place / "model", "--train_file", place / "rows.csv", "--output_dir",
            self.folder / f"{recipe}_{gib}", "--max_steps", 2, "--logging_steps", 1, "--save_strategy", "no",
            "--disable_tqdm", "true", "--warmup_steps", 0,
        ]  # fmt: skip
        return self.run(recipe, gib, f"{recipe}.py", flags)

    def task(self, name: str) -> dict:
        """Predict, reward or PPO of the 3B, from the adapter that it has trained as a T4."""
        adapter, rows = self.folder / "sft_llama3b_14.5", self.folder / "sft_llama3b" / "rows.csv"
        output = ["--adapter_path", adapter, "--output_dir", self.folder / name]
        train = ["--save_strategy", "no", "--disable_tqdm", "true", "--logging_steps", 1, "--max_steps", 2]
        flags = {
            "predict": ["--test_file", rows, "--num_beams", 4, "--max_new_tokens", 4 if self.smoke else 64,
                        "--rouge_tokenizer", "char", "--bootstrap", 10],
            "reward": ["--pairs_file", self.pairs(rows), "--accept_weak", "true", *train],
            "ppo": ["--train_file", rows, "--reward_functions", "rouge", "mask_fidelity", "--reward_weights", 1.0, 0.2,
                    "--rouge_tokenizer", "char", "--max_completion_length", 8 if self.smoke else 64, "--max_truncated",
                    1.1, "--kl_target", 1e9, *train],
        }[name]  # fmt: skip
        return self.run(name, 14.5, f"{name}.py", output + flags)

    def pairs(self, rows: Path) -> Path:
        """Pairs from summaries: each is chosen over the next row's."""
        read, file = read_dialogues(str(rows)), self.folder / "pairs.jsonl"
        summaries = [references[0] for references in read["summaries"]]
        lines = [
            json.dumps(dict(prompt=dialogue, chosen=mine + ".", rejected=other), ensure_ascii=False)
            for dialogue, mine, other in zip(read["dialogue"], summaries, summaries[1:] + summaries[:1], strict=True)
        ]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file


def measure(folder: Path, smoke: bool, limit: float) -> list[dict]:
    """All of it."""
    results, budgets = [], Budgets(folder, smoke, limit)
    if not smoke:
        context = subprocess.run([sys.executable, "-c", CONTEXT], capture_output=True, text=True, check=True).stdout
        results.append({"variant": "context of CUDA and cuBLAS", "gib": round(float(context), 3)})
        print(results[-1], flush=True)
    with ThreadPoolExecutor(12) as pool:
        recipes = list(SHAPES)[:1] if smoke else list(SHAPES)
        list(pool.map(budgets.build, recipes))
        for recipe in recipes:
            write_rows(folder / recipe / "rows.csv", folder / recipe / "model", 128)
        command = [sys.executable, "-m", "benchmarks.as_card", "--capability", "7.5", "benchmarks.old_cards", "--speed",
                   folder / "sft_llama3b" / "model", *(["--smoke"] if smoke else [])]  # fmt: skip
        try:
            lines = [line for _, line in run_timed(command, folder / "speed.log", limit)]
            results += json.loads(next(line for line in lines if line.startswith("SPEED "))[6:])
        except SystemExit as error:
            results.append({"variant": "as a T4", "failed": str(error)[-1500:]})
            print(results[-1], flush=True)
        waves = ([("sft_llama3b", 14.5)], []) if smoke else RUNS
        equality = None if smoke else pool.submit(self_check, folder, limit)
        results += pool.map(lambda run: budgets.sft(*run), waves[0])
        results += equality.result() if equality else []
        keep(results, smoke)
        tasks = [pool.submit(budgets.task, name) for name in ("predict", "reward", "ppo")]
        tasks += [pool.submit(budgets.sft, *run) for run in waves[1]]
        results += [task.result() for task in tasks]
    keep(results, smoke)
    return results


def self_check(folder: Path, limit: float) -> list[dict]:
    """`kernel_equality` in a process."""
    try:
        lines = run_timed([sys.executable, "-m", "benchmarks.kernel_equality"], folder / "equality.log", limit)
    except SystemExit as error:
        print(error, flush=True)
        return [{"variant": "kernel_equality", "failed": str(error)[-1500:]}]
    return json.loads(next(line for _, line in lines if line.startswith("EQUALITY "))[9:])


def keep(results: list[dict], smoke: bool) -> None:
    """Writes what is there."""
    if not smoke:
        write_result("old_cards", results)


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="toy shapes on the CPU; writes no result file")
    parser.add_argument("--speed", help="a model's folder: only the gradients and the speed, in this process")
    parser.add_argument("--limit", type=float, default=140, help="seconds for one run")
    args = parser.parse_args(argv)
    if args.speed:
        print("SPEED " + json.dumps(speed(args.speed, args.smoke or not torch.cuda.is_available())), flush=True)
        return []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if not args.smoke else None) as folder:
        return measure(Path(folder), args.smoke, args.limit)


if __name__ == "__main__":
    main()
