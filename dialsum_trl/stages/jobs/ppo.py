"""Rewards to a policy by PPO; the best adapter is kept."""

import math

from dialsum_trl.core.launcher import current
from dialsum_trl.rl.ppo_trainer import PPOTrainer
from dialsum_trl.stages.common.online import adjust_online, open_online


def adjust(values: dict, given: set[str]) -> None:
    """As `adjust_online`; micro-batches that divide."""
    adjust_online(values, given)
    if "per_device_train_batch_size" not in given:
        parts = current().processes * values["num_mini_batches"]
        share = max(1, values["rollout_batch_size"] // parts)
        values["per_device_train_batch_size"] = math.gcd(share, values["per_device_train_batch_size"])


def run(data, prompt, model_args, rouge, rewards, args) -> dict:
    """Trains the SFT adapter further on rewards; returns the figures of the closing table."""
    run, parts = open_online("PPO", data, prompt, model_args, rouge, rewards, args)
    trainer = PPOTrainer(**parts)
    run.train(trainer)
    trainer.restore_best()
    watch = trainer.watch
    metrics = watch.best_metrics or {}
    run.save(trainer, metrics)

    steps = [entry for entry in trainer.state.log_history if "kl" in entry]
    last = steps[-1] if steps else {}
    timed = [entry for entry in trainer.state.log_history if "seconds/generation" in entry]
    timed = timed[1:] or timed  # the first compiles
    figures = {
        "dialogues": len(parts["train_dataset"]),
        "optimizer steps": trainer.state.global_step,
        "rewards": ", ".join(trainer.reward_func_names),
        **{f"start {key.removeprefix('eval_')}": value for key, value in (watch.start_metrics or {}).items()},
        **{f"best {key.removeprefix('eval_')}": value for key, value in metrics.items()},
        "best step": watch.best_step,
        "KL to SFT at the end, nats a summary": last.get("kl"),
        "explained variance at the end": last.get("explained_variance"),
        "stopped by": watch.tripped or "end of training",
        **{
            f"seconds a rollout, {part}": mean_of(timed, f"seconds/{part}")
            for part in ("generation", "scoring", "learning")
        },
        **run.costs(),
        "adapter": args.output_dir,
    }
    return run.close("PPO finished", figures)


def mean_of(entries: list[dict], name: str) -> float | None:
    """The mean of a logged figure over the entries that have it."""
    values = [entry[name] for entry in entries if entry.get(name) is not None]
    return sum(values) / len(values) if values else None
