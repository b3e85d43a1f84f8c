"""Pairs to a reward adapter; held-out accuracy against length baselines."""

import math
import time
from pathlib import Path

from dialsum_trl.core.console import is_main_process, say, table
from dialsum_trl.core.errors import TrainingError
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments
from dialsum_trl.core.settings.resolve import parse_recipe
from dialsum_trl.data.pairs import length_baselines, pair_names, read_sides
from dialsum_trl.models.adapter_settings import keep_lora, use_adapter_settings
from dialsum_trl.prompts.preference_pairs import encode_pairs
from dialsum_trl.rl.reward_model import load_model, padding_id, score_pairs, trainer_class
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.flags import PairArguments
from dialsum_trl.stages.reward import REWARD_SETTINGS, RewardModelArguments
from dialsum_trl.training.batches import batch_arithmetic, take_accumulation
from dialsum_trl.training.best_checkpoint import LOSS, check_choice
from dialsum_trl.training.precision import match_precision


def reward_config():
    from trl import RewardConfig

    return RewardConfig


def adjust(values: dict, given: set[str]) -> None:
    """Base, dtype and prompt style follow the SFT adapter; mixed precision follows the dtype."""
    use_adapter_settings(values, given)
    if values["adapter_path"]:
        keep_lora(values, given)
    match_precision(values, given)
    take_accumulation(values, given)
    check_choice(values, given, (*LOSS, "accuracy", "margin"))


def check_scores(trainer, names: list[str], scores) -> None:
    """Raises TrainingError with the first held-out pair whose scores are not finite."""
    from dialsum_trl.training.checkpoints.whole import last_good

    broken = [name for name, pair in zip(names, scores, strict=True) if not all(map(math.isfinite, pair))]
    if broken:
        raise TrainingError(
            f"step {trainer.state.global_step}: scores of {len(broken)} held-out pairs are not finite (the first: "
            f"{broken[0]}); look at these pairs, or lower --learning_rate. {last_good(trainer.args.output_dir)}"
        )


def accuracy_by_kind(pairs: list[dict], scores) -> list[tuple[str, str, str]]:
    """Table rows: kind, pairs, share in which the chosen summary scores higher."""
    kinds = {}
    for pair, (chosen, rejected) in zip(pairs, scores, strict=True):
        kinds.setdefault(pair["kind"], []).append(chosen > rejected)
    return [(kind, str(len(wins)), f"{100 * sum(wins) / len(wins):.1f} %") for kind, wins in sorted(kinds.items())]


@command
def train_reward(recipe: dict, argv: list[str]) -> dict:
    """Trains a reward adapter and its score head, and refuses one that only learned to count characters.

    Returns:
        The figures of the closing table (held-out accuracy, the length baselines, scores' mean and deviation).
    """
    prompt, model_args, pair_args, weak, args = parse_recipe(
        [PromptArguments, ModelArguments, PairArguments, RewardModelArguments],
        {**REWARD_SETTINGS, **recipe},
        argv,
        ("trl.RewardConfig", reward_config),
        adjust,
        stage="reward",
    )
    import statistics

    from datasets import Dataset

    from dialsum_trl.core.files import write_json
    from dialsum_trl.models.adapters import upcast_trained
    from dialsum_trl.models.file_names import SCALE_FILE
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.prompts.tokenizer import tokenizer_of
    from dialsum_trl.sharing.push import plan_push
    from dialsum_trl.sharing.save import keep_record, save_adapter
    from dialsum_trl.stages.common.run import peak_memory_gib, train_loss
    from dialsum_trl.training.checkpoints.output_dir import prepare_output_dir
    from dialsum_trl.training.checkpoints.same_run import describe, same_run
    from dialsum_trl.training.distributed.sharding import whole_model

    checkpoint = prepare_output_dir(args)
    push_when_done = plan_push(args, model_args)
    batch_arithmetic(args, pair_args.effective_batch_size)
    train, held = read_sides(pair_args.pairs_file, pair_args.eval_pairs_file, pair_args.held_out, args.seed)
    tokenizer = tokenizer_of(model_args, prompt)
    stop_ids = stop_token_ids(tokenizer)
    train_rows = encode_pairs(train, tokenizer, stop_ids, args.max_length)
    held_rows = encode_pairs(held, tokenizer, stop_ids, args.max_length)
    say(f"{len(train)} training pairs, {len(held)} held out")
    sides = ("chosen_ids", "rejected_ids")
    texts, held_texts = (
        {side: [row["prompt_ids"] + row[side] for row in rows] for side in sides} for rows in (train_rows, held_rows)
    )
    ends = [ids for rows in (texts, held_texts) for side in sides for ids in rows[side]]

    about = describe(args, (prompt, model_args, pair_args, weak), tokenizer, train, train_rows, held)
    same_run(checkpoint, about, names := pair_names(train))
    model = load_model(model_args, args, tokenizer)
    trainer = trainer_class()(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict(texts),
        eval_dataset=Dataset.from_dict(held_texts) if args.eval_strategy != "no" else None,
        processing_class=tokenizer,
        pad_id=padding_id(tokenizer, ends),
    )
    trainer.run_settings, trainer.row_names = about, names
    keep_record(trainer, tokenizer, model_args, prompt, method="reward model")
    upcast_trained(trainer.model)
    started = time.time()
    result = trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started

    with whole_model(trainer) as whole:
        scores = score_pairs(whole, held_rows, tokenizer.pad_token_id)
    check_scores(trainer, pair_names(held), scores)
    flat = [score for pair in scores for score in pair]
    accuracy = sum(chosen > rejected for chosen, rejected in scores) / len(scores)
    baselines = length_baselines(held)
    scale = {"score_mean": statistics.fmean(flat), "score_std": statistics.pstdev(flat) or 1.0}
    figures = {
        "pairs": len(train),
        "held-out pairs": len(held),
        "optimizer steps": trainer.state.global_step,
        **train_loss(result, checkpoint),
        "held-out accuracy": round(accuracy, 4),
        **{f"accuracy of '{name}'": round(share, 4) for name, share in baselines.items()},
        **{name.replace("_", " "): round(value, 4) for name, value in scale.items()},
        "seconds": round(seconds, 1),
        "peak GPU memory, GiB": peak_memory_gib(),
        "adapter": args.output_dir,
    }
    table("Held-out accuracy by kind", accuracy_by_kind(held, scores), ("kind", "pairs", "accuracy"))
    table("Reward model finished", list(figures.items()))
    best = max(baselines, key=baselines.get)
    if accuracy < baselines[best] + weak.min_margin and not weak.accept_weak:
        raise TrainingError(
            f"held-out accuracy {accuracy:.3f} is not {weak.min_margin} above '{best}' ({baselines[best]:.3f}): "
            f"PPO would optimize length. Make more or clearer pairs, train longer, or keep it with --accept_weak true"
        )
    trainer.save_state()
    save_adapter(trainer, tokenizer, model_args, {})
    if is_main_process():
        write_json(Path(args.output_dir) / SCALE_FILE, {**scale, "accuracy": accuracy, "baselines": baselines})
    push_when_done()
    return figures
