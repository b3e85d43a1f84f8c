"""Training tokens per second: the design's settings in plain TRL, TRL's packing, and ours.

    python -m benchmarks.sft_speed                          # one GPU, Llama-3.2-3B shape
    python -m benchmarks.sft_speed --shape llama8b --variants plain ours ours_16gib
    python -m benchmarks.sft_speed --shape gemma3_4b --variants plain ours --name sft_families --append
    python -m benchmarks.sft_speed --shape exaone4_1b --variants ours --skip_equality --name sft_families --append
    python -m benchmarks.sft_speed --shape gemma3_4b phi4_mini --change num_hidden_layers=6 --variants
    python -m benchmarks.sft_speed --curve 50               # also the loss curves of both paths, 8 rows per step
    python -m benchmarks.sft_speed --unsloth_site SITE      # Unsloth too, in the same run
    python -m benchmarks.sft_speed --smoke                  # CPU, toy shape

Random weights through the real 4-bit loading path, LoRA r 16 on seven projections with dropout 0.05, 64 rows per step
with the lengths of real dialogues. Tokens are those of the rows: prompt and completion, no padding. All variants see
the same rows in the same order. Every step's loss and gradient norm must be finite; the trainer's NaN filter is off.
The first steps, with compilation, are timed separately; between the timed steps nothing waits for the device; one step
after them is profiled. Unsloth pins trl <= 1.15 and transformers <= 5.17, so it runs in its own process, from a folder
with Unsloth and what it pins (`pip install --no-deps --target SITE unsloth unsloth_zoo trl==1.15.0 ...`).
"""

import argparse
import gc
import json
import math
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import RESULTS, machine, write_result
from benchmarks.runner import environment, run_timed
from benchmarks.sft_equality import equality, load
from benchmarks.shapes import SHAPES, SMALL, build, lengths, sizes_of
from dialsum_trl.core.launcher import prepare_allocator

PEAK_FLOPS = 7.9e14  # bf16, measured with 8192^3 on H100 and H200
# Kernel names -> what they do, first match counts.
KINDS = {
    "attention": ("flash", "fmha", "attention"),  # their names say cutlass too
    "matrix products": ("nvjet", "gemm", "cutlass"),
    "lora": ("lora_",),
    "swiglu": ("swiglu",),
    "norm and rope": ("rms_norm", "rope"),
    "dequantization": ("load_weight", "dequant", "Dequant"),
    "optimizer and clipping": ("adam", "Adam", "multi_tensor", "optimizer", "lpnorm"),
    "lm head": ("_forward_kernel", "_backward_kernel"),
}
# Unsloth's variants -> its checkpointing, packs of eight rows' tokens per micro-batch
UNSLOTH = {"unsloth_4_packs": ("none", 4), "unsloth": ("none", 1), "unsloth_checkpointing": ("unsloth", 4)}
UNPRINTED = ("plain", "ours")  # the curves, step by step
# variant -> (steps before the clock, measured steps, memory budget in GiB)
VARIANTS = {
    "plain": (1, 2, None),
    "trl_packing": (1, 2, None),
    "ours": (2, 14, None),
    "ours_8gib": (2, 10, 8.0),
    "ours_16gib": (2, 8, 16.0),
}


def make_rows(count: int, vocabulary: int, seed: int = 0):
    """Rows {"input_ids", "labels"} with the lengths of real dialogues and Zipf-distributed tokens to learn from."""
    import numpy as np
    from datasets import Dataset

    draw = np.random.default_rng(seed)
    ids, labels = [], []
    for prompt, completion in zip(*lengths(count, seed), strict=True):
        tokens = (draw.zipf(1.3, prompt + completion) * 7919 % vocabulary).tolist()
        ids.append(tokens)
        labels.append([-100] * int(prompt) + tokens[prompt:])
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def settings(folder: str, variant: str, steps: int, smoke: bool, rows_per_step: int, **more):
    """The recipes' shared settings as trainer arguments for one variant."""
    from trl import SFTConfig

    from dialsum_trl.stages.sft import SFT

    known = SFTConfig.__dataclass_fields__
    values = {name: value for name, value in SFT.settings.items() if name in known}
    values |= dict(
        output_dir=folder, max_steps=steps, eval_strategy="no", save_strategy="no",
        load_best_model_at_end=False, report_to="none", disable_tqdm=True, bf16=not smoke, use_cpu=smoke,
        per_device_train_batch_size=min(8, rows_per_step), gradient_accumulation_steps=max(1, rows_per_step // 8),
        dataset_kwargs={"skip_prepare_dataset": True}, warmup_steps=0,
    )  # fmt: skip
    if variant == "trl_packing":  # packs of 8 rows' tokens, so that a step stays near 64 rows
        values |= dict(
            packing=True, max_length=1024 if smoke else 2560, per_device_train_batch_size=1, dataset_kwargs=None
        )
    return SFTConfig(**(values | more))


def run(path, variant: str, rows, smoke: bool, rows_per_step: int = 64, **more) -> dict:
    """Trains one variant and returns its figures."""
    import torch
    from transformers import AutoTokenizer, TrainerCallback

    from dialsum_trl.training.packing.prepare import limit_gpu, prepare
    from dialsum_trl.training.sft_trainer import SFTTrainer

    warmup, measured, budget = VARIANTS[variant]
    measured = min(measured, more.pop("measured_at_most", measured))
    dropout = more.pop("dropout", 0.05)
    profiled = torch.cuda.is_available() and "max_steps" not in more and variant.startswith("ours")
    recorder = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
    steps = more.pop("max_steps", warmup + (1 if smoke else measured))
    free_gpu()
    if torch.cuda.is_available():
        limit_gpu(1e9)
        torch.cuda.reset_peak_memory_stats()

    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if torch.cuda.is_available() and state.global_step in (1, warmup, steps):
                torch.cuda.synchronize()  # nowhere else: the device waits for the host then
            ends.append(time.perf_counter())
            if profiled and state.global_step == steps:
                recorder.start()

        def on_train_end(self, args, state, control, **kwargs):
            if profiled:
                torch.cuda.synchronize()
                recorder.stop()

    with tempfile.TemporaryDirectory() as folder:
        args = settings(folder, variant, steps + profiled, smoke, rows_per_step, **more)
        model, fast = load(path, smoke, dropout), None
        pad = 0
        tokenizer = AutoTokenizer.from_pretrained(path)
        if variant.startswith("ours"):
            sizes = [len(ids) for ids in rows["input_ids"]]
            fast, _ = prepare(model, args, sizes, pad, "none" if smoke else "4bit", None if smoke else budget)
        trainer = SFTTrainer(
            model=model, args=args, train_dataset=rows, processing_class=tokenizer, callbacks=[Clock()], packing=fast
        )
        read = recorded(trainer.numbers)
        started = time.perf_counter()
        trainer.train()
    losses, norms = [sum(losses) for _, losses in read[:steps]], [norm for norm, _ in read[:steps]]
    if len(losses) != steps or not all(math.isfinite(x) and x > 0 for x in losses + norms):
        raise SystemExit(f"{variant}: not finite, or zero, in {losses} {norms}")
    times = [started, *ends[:steps]]
    seconds = times[-1] - times[warmup]
    tokens = step_tokens(rows, rows_per_step, args.seed, steps, trainer if variant == "trl_packing" else None)
    return {
        "tokens_per_second": round(sum(tokens[warmup:]) / seconds),
        "seconds_a_step": round(seconds / (steps - warmup), 3),
        "first_step_seconds": round(times[1] - times[0], 1),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2) if torch.cuda.is_available() else 0,
        "allocated_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else 0,
        "plan": fast.plan.line() if fast and fast.plan else None,
        "percent_of_step": shares(recorder.key_averages(), seconds / (steps - warmup)) if profiled else {},
        "losses": [round(x, 5) for x in losses],
        "grad_norms": [round(x, 4) for x in norms],
    }


def free_gpu() -> None:
    """Gives the memory that the last variant used back to the device, also for another process."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def run_unsloth(site: str, path, checkpointing: str, packs: int, rows, smoke: bool) -> dict:
    """Unsloth's figures on the same model and rows (`unsloth_run`); its losses and norms must be finite too."""
    steps, warmup = (3, 1) if smoke else (10, 2)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        file.write_text(json.dumps(rows.to_list()))
        free_gpu()
        script = Path(__file__).with_name("unsloth_run.py")
        command = [sys.executable, script, path, file, steps, warmup, checkpointing, 0.05, packs]
        lines = run_timed(command, Path(folder) / "log", 240, environment(PYTHONPATH=site))
    figures = json.loads(next(line for _, line in lines if line.startswith("FIGURES "))[8:])
    if not all(math.isfinite(x) and x > 0 for x in figures["losses"] + figures["grad_norms"]):
        raise SystemExit(f"Unsloth: not finite, or zero, in {figures}")
    return figures


def recorded(numbers) -> list[tuple[float, list[float]]]:
    """The list that each step's gradient norm and micro-batch losses go to, as a trainer's `NumberCheck` reads them."""
    seen, usual = [], numbers.read

    def read():
        part = numbers.unread
        usual()
        if part is not None:
            seen.append(part.read())

    numbers.read = read
    return seen


def shares(averages, seconds: float) -> dict:
    """Percent of an unprofiled step's seconds that each kind of kernel takes in one; the rest is the GPU's idleness."""
    sums = {}
    for event in averages:
        kind = next((kind for kind, names in KINDS.items() if any(name in event.key for name in names)), "other")
        sums[kind] = sums.get(kind, 0) + event.self_device_time_total / 1e6
    sums["idle"] = max(0.0, seconds - sum(sums.values()))
    return {kind: round(100 * value / seconds, 1) for kind, value in sorted(sums.items(), key=lambda item: -item[1])}


def step_tokens(rows, rows_per_step: int, seed: int, steps: int, packed_trainer) -> list[int]:
    """Real tokens of each optimizer step; TRL packs its own way, so there it is the mean of its packs."""
    from dialsum_trl.training.plan.schedule import Schedule

    sizes = [len(ids) for ids in rows["input_ids"]]
    if packed_trainer is not None:
        packs = [len(ids) for ids in packed_trainer.train_dataset["input_ids"]]
        return [round(sum(packs) / len(packs) * packed_trainer.args.gradient_accumulation_steps)] * steps
    schedule = Schedule(sizes, rows_per_step, 1, seed=seed)
    batches = [batch for epoch in range(1 + steps * rows_per_step // len(sizes)) for batch in schedule.epoch(epoch)]
    return [sum(sizes[row] for row in batch) for batch in batches[:steps]]


def curves(path, rows, steps: int, smoke: bool, **more) -> dict:
    """Losses of both paths over the same small steps: 8 rows, a tenth of the steps to warm up, dropout as given."""
    more = dict(max_steps=steps, learning_rate=2e-4, warmup_steps=0.1) | more
    plain = run(path, "plain", rows, smoke, 8, **more)["losses"]
    ours = run(path, "ours", rows, smoke, 8, **more)["losses"]
    gaps = [abs(a - b) for a, b in zip(plain, ours, strict=True)]
    return {"plain": plain, "ours": ours, "largest_gap": max(gaps), "mean_gap": round(sum(gaps) / len(gaps), 6)}


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["llama3b"])
    parser.add_argument("--change", nargs="+", default=[], metavar="SIZE=NUMBER", help="sizes other than the shape's")
    parser.add_argument("--steps", type=int, default=100, help="measured steps at most")
    variants = ["plain", "trl_packing", "ours", "ours_8gib"]
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=variants)
    parser.add_argument("--curve", type=int, default=0, help="steps of the loss curves")
    parser.add_argument("--unsloth_site", help="folder that holds Unsloth and what it pins")
    parser.add_argument("--skip_equality", action="store_true")
    parser.add_argument("--name", default="sft_speed", help="name of the result file")
    parser.add_argument("--append", action="store_true", help="keep the file's rows, those measured again replaced")
    parser.add_argument("--smoke", action="store_true", help="toy shape on the CPU; writes no result file")
    args = parser.parse_args(argv)
    prepare_allocator()
    changed = {name: int(number) for name, number in (change.split("=") for change in args.change)}
    file, results = RESULTS / f"{args.name}.json", []
    args.earlier = json.loads(file.read_text()) if args.append and file.exists() else []
    for shape in args.shape:
        measure(shape, (SMALL | changed) if args.smoke else changed, args, results)
    print(f"{machine()}\n{'shape':>12} {'variant':>22} {'tok/s':>8} {'of ceiling':>10} {'reserved GiB':>12}")
    for row in results:
        if "tokens_per_second" in row:
            share, reserved = row["percent_of_ceiling"], row["reserved_gib"]
            print(
                f"{row['shape']:>12} {row['variant']:>22} {row['tokens_per_second']:8d} {share:9.1f}% {reserved:12.1f}"
            )
    return results


def measure(shape: str, changed: dict, args: argparse.Namespace, results: list[dict]) -> None:
    """Appends the rows of one shape to `results`; each is written at once: one that fails loses only itself."""
    sizes = sizes_of(shape, **changed)
    parameters = decoder_parameters(sizes)
    with tempfile.TemporaryDirectory() as folder:
        path = build(shape, folder, "float32" if args.smoke else "bfloat16", **changed)
        count = 32 if args.smoke else 64 * 20
        rows = make_rows(count, min(sizes["vocab_size"], 128000) - 300)

        def keep(variant: str, figures: dict) -> None:
            if rate := figures.get("tokens_per_second"):
                figures = {"percent_of_ceiling": round(100 * rate * 4 * parameters / PEAK_FLOPS, 1), **figures}
            results.append({"variant": variant, "shape": shape, **({"changed": changed} if changed else {}), **figures})
            print({k: v for k, v in results[-1].items() if k not in UNPRINTED}, flush=True)
            if not args.smoke:
                again = {(row["variant"], row["shape"]) for row in results}
                kept = [row for row in args.earlier if (row["variant"], row["shape"]) not in again]
                write_result(args.name, kept + results)

        if not args.skip_equality:
            keep("equality", equality(path, rows, args.smoke))
        for variant in args.variants:
            keep(variant, run(path, variant, rows, args.smoke, 8 if args.smoke else 64, measured_at_most=args.steps))
        if args.curve:
            keep("curves", curves(path, rows, args.curve, args.smoke))
        for variant, choice in UNSLOTH.items() if args.unsloth_site else ():
            keep(variant, run_unsloth(args.unsloth_site, path, *choice, rows, args.smoke))


def decoder_parameters(sizes: dict) -> int:
    """Parameters of the shape, embeddings once: what a token passes through."""
    hidden, heads, dim = sizes["hidden_size"], sizes["num_attention_heads"], sizes.get("head_dim")
    dim = dim or hidden // heads
    layer = hidden * dim * (2 * heads + 2 * sizes["num_key_value_heads"]) + 3 * hidden * sizes["intermediate_size"]
    return layer * sizes["num_hidden_layers"] + sizes["vocab_size"] * hidden


if __name__ == "__main__":
    main()
