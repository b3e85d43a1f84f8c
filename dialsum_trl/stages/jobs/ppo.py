"""Rewards to a policy, best adapter kept."""

import math
import os
import time

from dialsum_trl.core.console import say, table
from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments, RougeArguments
from dialsum_trl.core.settings.resolve import parse_recipe
from dialsum_trl.data.splits import read_rows
from dialsum_trl.rl.online_rows import online_dev_rows, online_rows
from dialsum_trl.rl.rewards import reward_functions
from dialsum_trl.stages.common.adjust import adjust_online
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.flags import RewardArguments
from dialsum_trl.stages.ppo import PPO_SETTINGS


def ppo_config():
    from dialsum_trl.rl.ppo_config import PPOConfig

    return PPOConfig


def adjust(values: dict, given: set[str]) -> None:
    """As `adjust_online`; micro-batches that divide."""
    adjust_online(values, given)
    if "per_device_train_batch_size" not in given:
        parts = int(os.environ.get("WORLD_SIZE", "1")) * values["num_mini_batches"]
        share = max(1, values["rollout_batch_size"] // parts)
        values["per_device_train_batch_size"] = math.gcd(share, values["per_device_train_batch_size"])


def mean_of(entries: list[dict], name: str) -> float | None:
    """The mean of a logged figure over the entries that have it."""
    values = [entry[name] for entry in entries if entry.get(name) is not None]
    return sum(values) / len(values) if values else None


@command
def train_ppo(recipe: dict, argv: list[str]) -> dict:
    """Trains the SFT adapter further on rewards and leaves the policy adapter alone in `output_dir`.

    Returns:
        The figures of the closing table (rewards and ROUGE at the start and at the best step, KL, seconds, peak GiB).
    """
    data, prompt, model_args, rouge, paid, args = parse_recipe(
        [DataArguments, PromptArguments, ModelArguments, RougeArguments, RewardArguments],
        {**PPO_SETTINGS, **recipe},
        argv,
        ("PPOConfig", ppo_config),
        adjust,
        stage="ppo",
    )
    from dialsum_trl.metrics.rouge import RougeConfig
    from dialsum_trl.models.adapters import load_base_and_policy
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.prompts.templates import template_kwargs
    from dialsum_trl.prompts.tokenizer import tokenizer_of
    from dialsum_trl.rl.learned_reward import LearnedReward
    from dialsum_trl.rl.ppo_trainer import PPOTrainer
    from dialsum_trl.sharing.push import plan_push
    from dialsum_trl.sharing.save import keep_record, save_adapter
    from dialsum_trl.stages.common.run import peak_memory_gib
    from dialsum_trl.training.checkpoints.output_dir import prepare_output_dir
    from dialsum_trl.training.checkpoints.same_run import describe, same_run

    paid.check_weights(args.reward_weights)
    checkpoint = prepare_output_dir(args)
    push_when_done = plan_push(args, model_args)
    rouge_config = RougeConfig.of(rouge)
    train, dev = read_rows(data)
    tokenizer = tokenizer_of(model_args, prompt)
    stop_ids = stop_token_ids(tokenizer)
    args.chat_template_kwargs = template_kwargs(tokenizer)
    budget = paid.max_length - args.max_completion_length
    train_rows, shortened = online_rows(train, tokenizer, budget)
    say(f"train: {len(train_rows)} dialogues, {shortened} shortened")

    about = describe(args, (data, prompt, model_args, rouge, paid), tokenizer, train, train_rows, dev)
    same_run(checkpoint, about, train["fname"])
    args.reward_weights = args.reward_weights or paid.weights()  # behind `describe`: older checkpoints hold none
    if checkpoint:
        args.eval_on_start = False  # the start was measured when the run started; the checkpoint knows the figures
    model = load_base_and_policy(model_args, args, tokenizer)
    functions = reward_functions(paid.reward_functions, rouge_config, stop_ids)
    if paid.reward_adapter_path:
        functions.append(LearnedReward(model, paid.reward_adapter_path, tokenizer))
    dev_rows = online_dev_rows(dev, tokenizer, budget, paid.rouge_rows)
    trainer = PPOTrainer(model, functions, args, train_rows, tokenizer, stop_ids, dev_rows, rouge_config)
    trainer.run_settings, trainer.row_names = about, train["fname"][:]
    keep_record(trainer, tokenizer, model_args, prompt, data, "PPO")

    started = time.time()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    trainer.restore_best()
    metrics = trainer.watch["best_metrics"] or {}
    trainer.save_state()
    save_adapter(trainer, tokenizer, model_args, metrics)

    steps = [entry for entry in trainer.state.log_history if "kl" in entry]
    last = steps[-1] if steps else {}
    parts = ("generation", "scoring", "learning")
    timed = [entry for entry in trainer.state.log_history if "seconds/generation" in entry]
    timed = timed[1:] or timed  # the first compiles
    spent = {f"seconds a rollout, {part}": mean_of(timed, f"seconds/{part}") for part in parts}
    figures = {
        "dialogues": len(train_rows),
        "optimizer steps": trainer.state.global_step,
        "rewards": ", ".join(trainer.reward_func_names),
        **{
            f"start {key.removeprefix('eval_')}": value for key, value in (trainer.watch["start_metrics"] or {}).items()
        },
        **{f"best {key.removeprefix('eval_')}": value for key, value in metrics.items()},
        "best step": trainer.watch["best_step"],
        "KL to SFT at the end, nats a summary": last.get("kl"),
        "explained variance at the end": last.get("explained_variance"),
        "stopped by": trainer.watch["tripped"] or "end of training",
        **spent,
        "seconds": round(seconds, 1),
        "peak GPU memory, GiB": peak_memory_gib(),
        "adapter": args.output_dir,
    }
    table("PPO finished", list(figures.items()))
    push_when_done()
    return figures
