"""Rewards to a policy through TRL's GRPO trainer."""

from dialsum_trl.rl.checkpoint_steps import check_saves
from dialsum_trl.rl.grpo_trainer import GRPOTrainer
from dialsum_trl.stages.common.online import adjust_online as adjust  # noqa: F401 - what `settings.resolve` calls
from dialsum_trl.stages.common.online import open_online


def run(data, prompt, model_args, rouge, rewards, grpo, args) -> dict:
    """Trains the SFT adapter on rewards; returns the figures of the closing table."""
    check_saves(args)
    run, parts = open_online("GRPO", data, prompt, model_args, rouge, rewards, args)
    trainer = GRPOTrainer(**parts, fast=grpo.fast)
    run.train(trainer)
    if not args.load_best_model_at_end:  # which chooses among the checkpoints
        trainer.restore_best()
    watch = trainer.watch
    metrics = watch.best_metrics or {}
    run.save(trainer, metrics)

    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    figures = {
        "dialogues": len(parts["train_dataset"]),
        "optimizer steps": trainer.state.global_step,
        "rewards": ", ".join(trainer.reward_func_names),
        "first reward": logged[0]["reward"],
        "last reward": logged[-1]["reward"],
        "last KL to SFT, nats a token": logged[-1].get("kl"),
        **{f"start {key.removeprefix('eval_')}": value for key, value in (watch.start_metrics or {}).items()},
        **{f"dev {key.removeprefix('eval_')}": value for key, value in metrics.items()},
        "best step": watch.best_step,
        "stopped by": watch.tripped or "end of training",
        **run.costs(),
        "adapter": args.output_dir,
    }
    return run.close("GRPO finished", figures)
