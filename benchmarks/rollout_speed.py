"""Seconds of a rollout of 64 summaries of 100 tokens and of learning from it: TRL's GRPO, our GRPO, our PPO.

    python -m benchmarks.rollout_speed                    # one GPU, Llama-3.2-3B shape
    python -m benchmarks.rollout_speed --smoke            # CPU, toy shape

Random weights in nf4, LoRA r 16, dialogues of real lengths, a reward that costs nothing. "grpo trl" is TRL's trainer
with transformers' `generate`, the others sample and learn as this package does; GRPO: 8 samples of 8 dialogues, one
step; PPO: 64 dialogues, two steps, four adapters. Each variant is a process of its own. Losses must be finite, and the
packed path is compared with the padded one as in `pairs_speed`.
"""

from pathlib import Path

from benchmarks.pairs_speed import clocked, common, compare, parts, unequal
from benchmarks.ppo_speed import measure
from benchmarks.runner import write_rows

VARIANTS = {"grpo trl": (1, 2), "grpo": (2, 4), "ppo": (2, 8)}


def rows_of(folder: Path, count: int, tokenizer):
    """`online_rows` of that many dialogues."""
    from dialsum_trl.data.dialogues import read_dialogues
    from dialsum_trl.rl.online_trainer import online_rows

    write_rows(folder / "rows.csv", folder / "model", count)
    return online_rows(read_dialogues(str(folder / "rows.csv")), tokenizer, 900)[0]


def grpo(variant: str, folder: Path, smoke: bool) -> dict:
    """One GRPO variant's figures."""
    import torch
    import trl

    from dialsum_trl.metrics.qualities import no_repetition
    from dialsum_trl.models.adapters import load_base_and_policy
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.rl.grpo_trainer import GRPOTrainer
    from dialsum_trl.stages.grpo import GRPO

    before, timed = (1, 1) if smoke else VARIANTS[variant]
    known = {n: value for n, value in GRPO.settings.items() if n in trl.GRPOConfig.__dataclass_fields__}
    changed = common(smoke, folder, before + timed) | dict(
        mask_truncated_completions=False, eval_on_start=False, num_generations_eval=None
    )
    if smoke:
        changed |= dict(max_completion_length=8, num_generations=2, per_device_train_batch_size=2)
        changed |= dict(gradient_accumulation_steps=2)
    if variant == "grpo":
        changed |= dict(activation_checkpointing=False)  # the card has the memory
    args = trl.GRPOConfig(**{**known, **changed})
    flags, tokenizer = parts(folder, smoke)
    model, rows = load_base_and_policy(flags, args, tokenizer), rows_of(folder, 8 * (before + timed), tokenizer)
    given = dict(model=model, reward_funcs=[no_repetition], args=args, train_dataset=rows, processing_class=tokenizer)
    if variant == "grpo trl":
        return clocked(trl.GRPOTrainer(**given), before)
    trainer = GRPOTrainer(**given, stop_ids=stop_token_ids(tokenizer), fast=True)
    if "forward" not in vars(model.get_base_model().base_model):
        raise SystemExit("the layers were not fused")
    figures = clocked(trainer, before)
    batch = trainer._buffered_inputs[0]
    worth = torch.linspace(-1, 1, len(batch["advantages"]), device=batch["advantages"].device)  # random text is alike
    return figures | unequal(trainer, {**batch, "advantages": worth}, flags.dtype)


def ppo(shape: str, folder: Path, smoke: bool) -> dict:
    """PPO's figures, as its command reports them."""
    write_rows(folder / "rows.csv", folder / "model", 64 * 10)
    steps = 4 if smoke else sum(VARIANTS["ppo"])
    more = ("--activation_checkpointing", "false")  # the card has the memory
    found = measure(folder, steps, 16, smoke, folder / "ppo_run.log", 300, more)
    seconds = {part: found[f"seconds a rollout, {part}"] for part in ("generation", "scoring", "learning")}
    return {
        "seconds_a_step": round(sum(seconds.values()), 2),  # of a rollout: both steps
        **{f"{part}_s": round(value, 2) for part, value in seconds.items()},
        "peak_gib": found["peak GPU memory, GiB"],
    }


def work(variant: str, shape: str, folder: Path, smoke: bool) -> dict:
    """The figures of one variant."""
    return ppo(shape, folder, smoke) if variant == "ppo" else grpo(variant, folder, smoke)


def main(argv: list[str] | None = None) -> list[dict]:
    return compare("rollout_speed", __doc__, argv, work, VARIANTS, {"grpo": "grpo trl", "ppo": "grpo trl"}.get)


if __name__ == "__main__":
    main()
