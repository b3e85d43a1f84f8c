"""What smaller and older cards train: one large GPU is limited to their memory and, as a T4, to their abilities.

    python -m benchmarks.old_cards                          # one GPU of 140 GB, 16 cores; about 8 minutes
    python -m benchmarks.old_cards --parts speed equality   # some of it; the other rows of the result file stay
    python -m benchmarks.old_cards --smoke                  # CPU, toy shapes

Each row comes from a process of its own, which `--limit` ends, and is printed and written as soon as it is there.

    equality  `kernel_equality`; it writes its own file
    speed     as a T4 (no FlashAttention, no bfloat16, its tiles): fp16 gradients of the 3B shape against float32, then,
              with the GPU to itself, tokens per second of plain TRL and of ours within 14.5 GiB
    host      peak memory of the host while the 3B and the 8B are loaded in 4 bits
    budgets   two steps of the recipes within budgets that `as_card` enforces, several at a time: seconds say nothing
    tasks     within 14.5 GiB predict with four beams, reward and PPO of the 3B (after its run of `budgets`)
"""

import argparse
import json
import math
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import torch

from benchmarks import sft_equality, sft_speed
from benchmarks.record import RESULTS, machine, write_json
from benchmarks.runner import ROOT, build_in_process, environment, run_timed, write_rows
from dialsum_trl.core.versions import versions
from dialsum_trl.data.dialogues import read_dialogues

SHAPES = {"sft_llama3b": "llama3b", "sft_qwen3_4b": "qwen3_4b", "sft_llama8b": "llama8b", "sft_qwen25_7b": "qwen25_7b"}
SMOKE = {"llama3b": "smoke", "qwen3_4b": "smoke_qwen3", "llama8b": "smoke", "qwen25_7b": "smoke_qwen2"}
SMALL, LARGE = ("sft_llama3b", "sft_qwen3_4b"), ("sft_llama8b", "sft_qwen25_7b")
BUDGETS = {7.5: SMALL, 11.0: SMALL + LARGE, 14.5: SMALL + LARGE, 23.0: LARGE}  # GiB -> recipes; no 7B fits 7.5
ABILITIES = {7.5: "8.9", 11.0: "8.6", 14.5: "7.5", 23.0: "8.6"}  # budget, GiB -> capability: 4060, 3060, T4, 3090
HOST = ("llama3b", "llama8b")  # whose loading is measured
ALLOCATOR = dict(PYTORCH_ALLOC_CONF="expandable_segments:True")  # as SFT sets it, before as_card imports torch
PARTS = ("equality", "speed", "host", "budgets", "tasks")
SPEED = {"plain": (1, 1, None), "ours_16gib": (2, 4, 14.5)}  # as `sft_speed.VARIANTS`
TELLING = ("Plan", "Packed", "Padded", "Fused", "float16 for", "the base stays", "Decod")


def as_a_t4(variant: str, path: str, smoke: bool) -> dict:
    """One row of `speed`, in this process, which `as_card` has made a T4."""
    sft_equality.HALF = "float16"
    sizes = sft_speed.SHAPES["smoke" if smoke else "llama3b"][1]
    rows = sft_speed.make_rows(32 if smoke else 256, min(sizes["vocab_size"], 128000) - 300)
    if variant == "gradients":
        return sft_equality.equality(path, rows, smoke)
    sft_speed.VARIANTS |= SPEED
    return sft_speed.run(
        path, variant, rows, smoke, 8 if smoke else 64, **({} if smoke else dict(bf16=False, fp16=True))
    )


class Bench:
    """The parts, and their rows."""

    def __init__(self, folder: Path, smoke: bool, limit: float):
        self.folder, self.smoke, self.limit, self.rows, self.lock = folder, smoke, limit, [], Lock()
        self.where = {"machine": machine(), "versions": versions()}
        file = RESULTS / "old_cards.json"
        self.earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []

    def keep(self, variant: str, row: dict) -> dict:
        """Prints and writes a row; an earlier one of that name is replaced."""
        with self.lock:
            self.rows.append({"variant": variant, **row, **self.where})
            print(json.dumps({"variant": variant, **row}, ensure_ascii=False), flush=True)
            if not self.smoke:
                new = {each["variant"] for each in self.rows}
                write_json("old_cards", [each for each in self.earlier if each["variant"] not in new] + self.rows)
        return row

    def run(self, variant: str, command: list, read: Callable[[list[str]], dict], **variables: str) -> dict:
        """A process, and the row that is read from its lines; one that fails has the end of its output.

        Args:
            variables: of its environment.
        """
        started, log = time.monotonic(), self.folder / f"{re.sub(r'[^a-z0-9.]+', '_', variant)}.log"
        try:
            threads = dict(OMP_NUM_THREADS="1" if self.smoke else "4", TOKENIZERS_PARALLELISM="false")
            row = read([line for _, line in run_timed(command, log, self.limit, environment(**threads, **variables))])
        except SystemExit as error:
            row = {"failed": str(error)[-1500:]}
        return self.keep(variant, {**row, "seconds": round(time.monotonic() - started, 1)})

    def build(self, recipe: str) -> None:
        """The model of a recipe, and rows."""
        shape, place = SHAPES[recipe], self.folder / recipe
        place.mkdir()
        build_in_process(SMOKE[shape] if self.smoke else shape, place / "model")
        with self.lock:  # the first imports transformers
            write_rows(place / "rows.csv", place / "model", 128)

    def equality(self) -> None:
        """`kernel_equality` in a process."""

        def read(lines: list[str]) -> dict:
            found = json.loads(marked(lines, "EQUALITY "))
            halves = [row for row in found if "float32" not in row["variant"]]
            exact = [row["largest"] for row in found if "float32" in row["variant"]]
            largest = max(row.get("relative", row["largest"]) for row in halves)
            return {"rows": len(found), "float32_largest": max(exact), "half_largest_relative": largest}

        if not self.smoke:
            self.run("kernels against their specifications", [sys.executable, "-m", "benchmarks.kernel_equality"], read)

    def speed(self, variant: str) -> dict:
        """Gradients or a pace as a T4."""
        command = [
            sys.executable, "-m", "benchmarks.as_card", "--capability", "7.5", "benchmarks.old_cards", "--variant",
            variant, "--model", self.folder / "sft_llama3b" / "model", *(["--smoke"] if self.smoke else []),
        ]  # fmt: skip
        return self.run(
            f"as a T4: {variant}", command, lambda lines: json.loads(marked(lines, "VARIANT ")), **ALLOCATOR
        )

    def paces(self) -> None:
        """Both paces, with nothing else on the GPU."""
        plain, ours = self.speed("plain"), self.speed("ours_16gib")
        if rates := [row["tokens_per_second"] for row in (plain, ours) if "tokens_per_second" in row]:
            times = round(rates[1] / rates[0], 2) if len(rates) == 2 else None
            self.keep("as a T4: ours over plain TRL", {"times": times, "at_least_4": times is not None and times >= 4})

    def host(self, recipe: str, *flags: str) -> None:
        """Peak memory of loading a base."""
        command = [sys.executable, "-m", "benchmarks.host_memory", self.folder / recipe / "model", *flags]
        name = f"host memory of loading {SHAPES[recipe]} in 4 bits{', by transformers alone' if flags else ''}"
        self.run(name, command, lambda lines: json.loads(marked(lines, "HOST ")))

    def on_card(self, name: str, gib: float, script: str, flags: list, **variables: str) -> None:
        """One recipe as a card of that memory and ability."""
        more = ["--use_cpu", "true", "--dtype", "float32"] if self.smoke else []
        command = [
            sys.executable, "-m", "benchmarks.as_card", "--gib", gib, "--capability", ABILITIES[gib],
            ROOT / "recipes" / script, *flags, *more,
        ]  # fmt: skip

        def read(lines: list[str]) -> dict:
            losses = [x for line in lines for x in re.findall(r"'loss': '?(-?[\d.e+-]+|nan|inf)", line)]
            return {
                "capability": ABILITIES[gib], "gib": gib, **json.loads(marked(lines, "AS_CARD ")), "losses": losses,
                "finite": all(math.isfinite(float(loss)) for loss in losses),
                "said": [line for line in lines if line.startswith(TELLING)],
            }  # fmt: skip

        self.run(f"{name}, {gib} GiB", command, read, **variables)

    def sft(self, recipe: str, gib: float) -> None:
        """Two steps of a recipe."""
        place = self.folder / recipe
        flags = [
            "--model_name_or_path", place / "model", "--train_file", place / "rows.csv", "--output_dir",
            self.folder / f"{recipe}_{gib}", "--max_steps", 2, "--logging_steps", 1, "--save_strategy", "no",
            "--disable_tqdm", "true", "--warmup_steps", 0,
        ]  # fmt: skip
        self.on_card(recipe, gib, f"{recipe}.py", flags, **ALLOCATOR)

    def task(self, name: str) -> None:
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
        self.on_card(name, 14.5, f"{name}.py", output + flags)

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


def marked(lines: list[str], mark: str) -> str:
    """The rest of the line that begins with `mark`."""
    for line in lines:
        if line.startswith(mark):
            return line.removeprefix(mark)
    raise SystemExit(f"no line begins with {mark}: {lines[-5:]}")


def context_gib() -> float:
    """GPU memory that a process has beside what torch's allocator reserves: its context and cuBLAS."""
    free, total = torch.cuda.mem_get_info()
    x = torch.randn(64, 64, device="cuda", dtype=torch.float16)
    (x @ x).sum().item()
    free, total = torch.cuda.mem_get_info()
    return (total - free - torch.cuda.memory_reserved()) / 2**30


def measure(bench: Bench, parts: list[str], at_once: int) -> None:
    """The parts, those side by side that may be."""
    recipes = SMALL[:1] if bench.smoke else SMALL + LARGE
    runs = [("sft_llama3b", 14.5)] if bench.smoke else [(name, gib) for gib, names in BUDGETS.items() for name in names]
    runs.sort(key=lambda run: run != ("sft_llama3b", 14.5))  # first, for tasks continue from its adapter
    if "budgets" not in parts:
        recipes, runs = [name for name in recipes if SHAPES[name] in HOST], runs[:1] if "tasks" in parts else []
    if not bench.smoke:
        bench.keep("context of CUDA and cuBLAS", {"gib": round(context_gib(), 3)})
    with ThreadPoolExecutor(at_once) as pool:
        built = {name: pool.submit(bench.build, name) for name in recipes}
        first = [pool.submit(bench.equality)] if "equality" in parts else []
        if "speed" in parts:
            built["sft_llama3b"].result()
            bench.speed("gradients")
        for each in (*built.values(), *first):
            each.result()
        if "speed" in parts:
            bench.paces()
        queue = [pool.submit(bench.sft, *run) for run in runs[:at_once]]
        if "tasks" in parts:
            queue[0].result()
            queue += [pool.submit(bench.task, name) for name in ("predict", "reward", "ppo")]
        queue += [pool.submit(bench.sft, *run) for run in runs[at_once:]]
        if "host" in parts:
            bases = [name for name in recipes if SHAPES[name] in HOST]
            queue += [pool.submit(bench.host, name) for name in bases] + [pool.submit(bench.host, bases[-1], "--plain")]
        for each in queue:
            each.result()


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="toy shapes on the CPU; writes no result file")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--limit", type=float, default=200, help="seconds for one process")
    parser.add_argument("--at_once", type=int, default=3, help="processes side by side")
    parser.add_argument("--folder", help="where models, rows and logs go; 50 GB")
    parser.add_argument("--logs", type=Path, help="a folder that each process' output is copied to")
    parser.add_argument("--variant", choices=("gradients", *SPEED), help="one row of speed, in this process")
    parser.add_argument("--model", help="the model's folder for --variant")
    args = parser.parse_args(argv)
    if args.variant:
        print("VARIANT " + json.dumps(as_a_t4(args.variant, args.model, args.smoke)), flush=True)
        return []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        bench = Bench(Path(folder), args.smoke, args.limit)
        try:
            measure(bench, args.parts, args.at_once)
        finally:
            if args.logs:
                args.logs.mkdir(parents=True, exist_ok=True)
                for log in Path(folder).glob("*.log"):
                    shutil.copy(log, args.logs)
    return bench.rows


if __name__ == "__main__":
    main()
