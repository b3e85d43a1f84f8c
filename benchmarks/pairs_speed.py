"""Preference pairs a second in DPO and reward training: TRL's padded batches, and packs through fused layers.

    python -m benchmarks.pairs_speed                    # one GPU, Llama-3.2-3B shape
    python -m benchmarks.pairs_speed --smoke            # CPU, toy shape

Random weights in nf4, LoRA r 16, 32 pairs a step with the lengths of real dialogues and summaries, the recipes'
settings; each variant is a process of its own. Every loss and gradient norm must be finite. After the timed steps the
packed path computes a batch once more padded: loss and gradient must be the same up to the rounding of bfloat16
(float32: 1e-5).
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.ppo_speed import make_adapters
from benchmarks.record import write_result
from benchmarks.runner import build_in_process, environment, run_timed
from benchmarks.shapes import SHAPES, lengths

VARIANTS = {  # -> steps before the clock, timed steps
    "dpo padded": (1, 2), "dpo": (2, 8), "reward padded": (1, 2), "reward": (2, 8),
}  # fmt: skip
LOSS, GRADIENT = {"bfloat16": 2e-2, "float32": 1e-5}, {"bfloat16": 0.2, "float32": 1e-4}  # largest relative differences


def make_pairs(count: int, vocabulary: int) -> list[dict]:
    """Pairs of random ids: prompts and summaries of real lengths, the two summaries drawn apart."""
    import numpy as np

    draw = np.random.default_rng(3)
    sides = (*lengths(count), lengths(count, seed=1)[1])
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [
        {name: draw.integers(10, vocabulary - 300, int(size)).tolist() for name, size in zip(names, sizes, strict=True)}
        for sizes in zip(*sides, strict=True)
    ]


def unequal(trainer, batch: dict, dtype: str) -> dict:
    """Relative differences of loss and gradient between the packed and the padded path for one batch, and whether
    rounding explains them."""
    import torch

    from dialsum_trl.rl.learned_reward import backbone

    def once():
        trainer.model.zero_grad()
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(trainer.model, dict(batch))
        loss.backward()
        found = [p.grad.float().flatten() for p in trainer.model.parameters() if p.grad is not None]
        return loss.item(), torch.cat(found)

    trainer.model.eval()  # without dropout: the two paths drop other elements
    loss, gradient = once()
    del backbone(trainer.model).forward  # padded batches reach transformers' layers again
    plain, wanted = once()
    differences = {
        "loss_differs": abs(loss - plain) / max(abs(plain), 1e-6),
        "gradient_differs": ((gradient - wanted).norm() / wanted.norm()).item(),
    }
    print(differences, flush=True)
    equal = differences["loss_differs"] < LOSS[dtype] and differences["gradient_differs"] < GRADIENT[dtype]
    return {name: float(f"{value:.2g}") for name, value in differences.items()} | {"equal": equal}


def clocked(trainer, before: int) -> dict:
    """Trains; seconds of a step after the first ones, of the first, and peak memory."""
    import torch
    from transformers import TrainerCallback

    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    trainer.add_callback(Clock())
    started = time.perf_counter()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    peak = torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else 0.0
    return {
        "seconds_a_step": round((ends[-1] - ends[before - 1]) / (len(ends) - before), 3),
        "first_step_s": round(ends[0] - started, 1),
        "last_loss": losses[-1],
        "peak_gib": round(peak, 1),
    }


def common(smoke: bool, folder: Path, steps: int) -> dict:
    """Trainer arguments of every variant; fields of the stage's settings go before them."""
    return dict(
        output_dir=str(folder / "out"), max_steps=steps, eval_strategy="no", save_strategy="no", report_to="none",
        disable_tqdm=True, bf16=not smoke, use_cpu=smoke, logging_steps=1, learning_rate=1e-4, warmup_steps=0,
    )  # fmt: skip


def parts(folder: Path, smoke: bool):
    """Model flags and tokenizer of the random model with the random SFT adapter."""
    from dialsum_trl.core.settings.flags import ModelArguments
    from dialsum_trl.prompts.tokenizer import load_tokenizer

    dtype, quantization = ("float32", "none") if smoke else ("bfloat16", "4bit")
    flags = ModelArguments(
        model_name_or_path=str(folder / "model"), adapter_path=str(folder / "sft"), dtype=dtype,
        quantization=quantization,
    )  # fmt: skip
    return flags, load_tokenizer(str(folder / "model"))


def work(variant: str, shape: str, folder: Path, smoke: bool) -> dict:
    """The figures of one variant, in this process."""
    from datasets import Dataset
    from trl import DPOConfig, RewardConfig

    from dialsum_trl.models.adapters import load_base_and_policy
    from dialsum_trl.rl.dpo_trainer import DPOTrainer
    from dialsum_trl.rl.reward_model import RewardTrainer, load_model
    from dialsum_trl.stages.dpo import DPO
    from dialsum_trl.stages.reward import REWARD

    before, timed = (1, 1) if smoke else VARIANTS[variant]
    fast, per_step = not variant.endswith("padded"), 8 if smoke else 32
    pairs = make_pairs(per_step * (before + timed), SHAPES[shape][1]["vocab_size"])
    config, stage = (DPOConfig, DPO) if variant.startswith("dpo") else (RewardConfig, REWARD)
    known = {name: value for name, value in stage.settings.items() if name in config.__dataclass_fields__}
    args = config(**{**known, **common(smoke, folder, before + timed)})
    args.gradient_accumulation_steps = per_step // args.per_device_train_batch_size
    flags, tokenizer = parts(folder, smoke)
    more = dict(processing_class=tokenizer, quantization=flags.quantization, fast=fast)
    if config is DPOConfig:
        trainer = DPOTrainer(load_base_and_policy(flags, args, tokenizer), args, Dataset.from_list(pairs), **more)
    else:
        sides = {side: [pair["prompt_ids"] + pair[side] for pair in pairs] for side in ("chosen_ids", "rejected_ids")}
        sizes = [sum(map(len, pair.values())) for pair in pairs]
        trainer = RewardTrainer(
            load_model(flags, args, tokenizer), args, pad_id=tokenizer.pad_token_id, lengths=sizes,
            train_dataset=Dataset.from_dict(sides), **more,
        )  # fmt: skip
    if fast and "forward" not in vars(trainer.model.get_base_model().base_model):
        raise SystemExit("the layers were not fused")
    figures = clocked(trainer, before)
    tokens = sum(2 * len(p["prompt_ids"]) + len(p["chosen_ids"]) + len(p["rejected_ids"]) for p in pairs)
    figures |= {
        "pairs_per_second": round(per_step / figures["seconds_a_step"], 1),
        "tokens_per_second": round(tokens / len(pairs) * per_step / figures["seconds_a_step"]),
    }
    if fast:
        rows = [trainer.train_dataset[i] for i in range(4)]
        figures |= unequal(trainer, trainer._prepare_inputs(trainer.data_collator(rows)), flags.dtype)
    return figures


def in_process(module: str, variant: str, shape: str, folder: Path, smoke: bool, limit: float) -> dict:
    """The figures of `module`'s variant in a process of its own, killed after `limit` seconds."""
    command = [sys.executable, "-m", module, "--shape", shape, "--worker", variant, str(folder.resolve())]
    log = folder / f"{variant.replace(' ', '_')}.log"
    lines = run_timed([*command, *(["--smoke"] if smoke else [])], log, limit, environment())
    figures = json.loads(next(line for _, line in lines if line.startswith("FIGURES "))[8:])
    row = {"variant": variant, "shape": shape, **figures}
    print(json.dumps(row), flush=True)
    return row


def faster(rows: list[dict], plain: str, ours: str) -> float:
    """How many times as fast the second variant's step is."""
    seconds = {row["variant"]: row["seconds_a_step"] for row in rows}
    return round(seconds[plain] / seconds[ours], 2)


def check(rows: list[dict]) -> None:
    """Raises SystemExit where a packed path computed something else than the padded one, or a loss is not finite."""
    wrong = [row["variant"] for row in rows if not row.get("equal", True) or not math.isfinite(row.get("last_loss", 0))]
    if wrong:
        raise SystemExit(f"packed and padded batches differ, or a loss is not finite: {', '.join(wrong)}")


def parser(doc: str) -> argparse.ArgumentParser:
    """The flags of this benchmark and of `rollout_speed`."""
    flags = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--shape", default="llama3b", choices=list(SHAPES))
    flags.add_argument("--variants", nargs="+", help="default: all")
    flags.add_argument("--smoke", action="store_true", help="toy shape on a CPU; writes nothing")
    flags.add_argument(
        "--folder", type=Path, help="where the model is built, and found again; default: a temporary one"
    )
    flags.add_argument("--limit", type=float, default=150, help="seconds for one variant")
    flags.add_argument("--worker", nargs=2, metavar=("VARIANT", "FOLDER"), help=argparse.SUPPRESS)
    return flags


def measured(module: str, args, variants: list[str]) -> list[dict]:
    """Builds model and adapters and runs the variants, each in its process."""
    shape, folder = "smoke" if args.smoke else args.shape, args.folder or Path(tempfile.mkdtemp())
    try:
        if not (folder / "model" / "config.json").exists():
            build_in_process(shape, folder / "model")
        if not (folder / "sft").exists():
            make_adapters(shape, folder)
        return [in_process(module, each, shape, folder, args.smoke, args.limit) for each in variants]
    finally:
        if folder != args.folder:
            shutil.rmtree(folder)


def compare(name: str, doc: str, argv: list[str] | None, work: Callable, variants: dict, peer: Callable) -> list[dict]:
    """Measures the variants of benchmark `name`, or in a worker one of them.

    Args:
        work: (variant, shape, folder, smoke) -> figures of it.
        peer: variant -> the one that it is compared with, or None.
    """
    args = parser(doc).parse_args(argv)
    if args.worker:
        variant, folder = args.worker
        print("FIGURES " + json.dumps(work(variant, args.shape, Path(folder), args.smoke)), flush=True)
        return []
    chosen = args.variants or list(variants)
    rows = measured(f"benchmarks.{name}", args, chosen)
    for row in rows:
        if (plain := peer(row["variant"])) in chosen:
            row["times_as_fast"] = faster(rows, plain, row["variant"])
            print(f"{row['variant']}: {row['times_as_fast']} times as fast as {plain}", flush=True)
    if not args.smoke:
        write_result(name, rows)
    check(rows)
    return rows


def main(argv: list[str] | None = None) -> list[dict]:
    return compare("pairs_speed", __doc__, argv, work, VARIANTS, lambda variant: f"{variant} padded")


if __name__ == "__main__":
    main()
