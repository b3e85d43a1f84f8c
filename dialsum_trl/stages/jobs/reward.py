"""Preference pairs to a reward adapter; its held-out accuracy against length baselines."""

import math
import statistics
from pathlib import Path

from datasets import Dataset

from dialsum_trl.core.console import is_main_process, say, table
from dialsum_trl.core.errors import TrainingError
from dialsum_trl.core.files import write_json
from dialsum_trl.data.pairs import length_baselines, pair_names, read_sides
from dialsum_trl.models.adapter_settings import keep_lora, use_adapter_settings
from dialsum_trl.models.file_names import SCALE_FILE
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.preference_pairs import encode_pairs
from dialsum_trl.rl.reward_model import RewardTrainer, length_trend, load_model, padding_id, score_pairs
from dialsum_trl.stages.common.run import Run
from dialsum_trl.training.batches import take_accumulation
from dialsum_trl.training.best_metric import LOSS, check_choice
from dialsum_trl.training.checkpoints.whole import last_good
from dialsum_trl.training.distributed.sharding import whole_model
from dialsum_trl.training.precision import match_precision

SIDES = ("chosen_ids", "rejected_ids")


def adjust(values: dict, given: set[str]) -> None:
    """Base, dtype and prompt style follow the SFT adapter; mixed precision follows the dtype."""
    use_adapter_settings(values, given)
    if values["adapter_path"]:
        keep_lora(values, given)
    match_precision(values, given)
    take_accumulation(values, given)
    check_choice(values, given, (*LOSS, "accuracy", "margin"))


def run(prompt, model_args, pairs, verdict, args) -> dict:
    """Trains a reward adapter and its score head; returns the figures of the closing table.

    Raises:
        TrainingError: on the held-out pairs it is no better than counting characters.
    """
    run = Run("reward model", (prompt, model_args, pairs, verdict, args))
    run.open(pairs.effective_batch_size)
    train, heldout = read_sides(pairs.pairs_file, pairs.eval_pairs_file, pairs.held_out, args.seed)

    tokenizer = run.load_tokenizer()
    stop_ids = stop_token_ids(tokenizer)
    train_rows, heldout_rows = (encode_pairs(side, tokenizer, stop_ids, args.max_length) for side in (train, heldout))
    say(f"{len(train)} training pairs, {len(heldout)} held out")
    texts, heldout_texts = (
        {side: [row["prompt_ids"] + row[side] for row in rows] for side in SIDES} for rows in (train_rows, heldout_rows)
    )
    info = run.describe(tokenizer, train, train_rows, heldout, pair_names(train))

    trainer = RewardTrainer(
        model=load_model(model_args, args, tokenizer),
        args=args,
        train_dataset=Dataset.from_dict(texts),
        eval_dataset=Dataset.from_dict(heldout_texts) if args.eval_strategy != "no" else None,
        processing_class=tokenizer,
        lengths=[sum(map(len, row.values())) for row in train_rows],
        quantization=model_args.quantization,
        fast=pairs.fast,
        pad_id=padding_id(tokenizer, [ids for rows in (texts, heldout_texts) for side in SIDES for ids in rows[side]]),
        run_info=info,
    )
    run.train(trainer)

    with whole_model(trainer) as whole:
        scores = score_pairs(whole, heldout_rows, tokenizer.pad_token_id)
    check_scores(trainer, pair_names(heldout), scores)
    flat = [score for pair in scores for score in pair]
    scale = {"score_mean": statistics.fmean(flat), "score_std": statistics.pstdev(flat) or 1.0}
    scale |= length_trend(flat, [len(row[side]) for row in heldout_rows for side in SIDES])
    accuracy = sum(chosen > rejected for chosen, rejected in scores) / len(scores)
    baselines = length_baselines(heldout)
    figures = {
        "pairs": len(train),
        "held-out pairs": len(heldout),
        "optimizer steps": trainer.state.global_step,
        **run.train_loss(),
        "held-out accuracy": round(accuracy, 4),
        **{f"accuracy of '{name}'": round(share, 4) for name, share in baselines.items()},
        **{name.replace("_", " "): round(value, 4) for name, value in scale.items()},
        **run.costs(),
        "adapter": args.output_dir,
    }
    table("Held-out accuracy by kind", accuracy_by_kind(heldout, scores), ("kind", "pairs", "accuracy"))
    best = max(baselines, key=baselines.get)
    if accuracy < baselines[best] + verdict.min_margin and not verdict.accept_weak:
        table("Reward model not accepted", list(figures.items()))
        raise TrainingError(
            f"held-out accuracy {accuracy:.3f} is not {verdict.min_margin} above '{best}' ({baselines[best]:.3f}): "
            f"PPO would optimize length. Make more or clearer pairs, train longer, or keep it with --accept_weak true"
        )
    run.save(trainer, {})
    if is_main_process():
        write_json(Path(args.output_dir) / SCALE_FILE, {**scale, "accuracy": accuracy, "baselines": baselines})
    return run.close("Reward model finished", figures)


def check_scores(trainer, names: list[str], scores) -> None:
    """Raises TrainingError with the first held-out pair whose scores are not finite."""
    broken = [name for name, pair in zip(names, scores, strict=True) if not all(map(math.isfinite, pair))]
    if broken:
        raise TrainingError(
            f"step {trainer.state.global_step}: scores of {len(broken)} held-out pairs are not finite (the first: "
            f"{broken[0]}); look at these pairs, or lower --learning_rate. {last_good(trainer.args.output_dir)}"
        )


def accuracy_by_kind(pairs: list[dict], scores) -> list[tuple[str, str, str]]:
    """Table rows: kind, pairs, share in which the chosen summary scores higher."""
    kinds: dict[str, list[bool]] = {}
    for pair, (chosen, rejected) in zip(pairs, scores, strict=True):
        kinds.setdefault(pair["kind"], []).append(chosen > rejected)
    return [(kind, str(len(wins)), f"{100 * sum(wins) / len(wins):.1f} %") for kind, wins in sorted(kinds.items())]
