"""A reward model from preference pairs: the story of the job, read top to bottom in `train_reward`."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from dialsum_trl.arguments import ModelArguments, PromptArguments, flag, match_precision, parse_recipe
from dialsum_trl.best_checkpoint import LOSS, check_choice
from dialsum_trl.console import is_main_process, say, table
from dialsum_trl.errors import TrainingError, command
from dialsum_trl.rl.pairs import PairArguments, encode_pairs, length_baselines, pair_names, read_sides
from dialsum_trl.rows import batch_arithmetic, take_accumulation
from dialsum_trl.runs import keep_lora, use_adapter_settings

REWARD_SETTINGS = dict(
    learning_rate=1e-4,
    num_train_epochs=1,  # a second pass overfits pairs
    per_device_train_batch_size=8,
    lr_scheduler_type="cosine",
    warmup_steps=0.1,
    max_grad_norm=1.0,
    max_length=1024,
    center_rewards_coefficient=0.01,  # scores around 0: only differences are trained otherwise
    activation_checkpointing=True,
    activation_checkpointing_kwargs={"use_reentrant": False},
    ddp_find_unused_parameters=False,  # every adapter takes part in every step
    eval_strategy="no",  # the held-out accuracy is measured at the end, on scores as PPO will see them
    save_strategy="epoch",
    save_total_limit=1,
    logging_steps=10,
    logging_nan_inf_filter=False,
)


@dataclass
class RewardModelArguments:
    min_margin: float = flag(0.05, "By how much the held-out accuracy must beat both length baselines.")
    accept_weak: bool = flag(False, "Keep a reward model that does not beat them.")


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


def load_model(model_args: ModelArguments, args, tokenizer):
    """The quantized base with a LoRA adapter (the SFT adapter's weights where one is given) and a plain score head."""
    import torch
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification, set_seed
    from transformers.utils import logging

    from dialsum_trl.models import base_of, lora_config, resize_embeddings
    from dialsum_trl.rl.adapters import SCORE

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it reports the missing score head and the unused language head
    model = base_of(model_args, args.device, auto_class=AutoModelForSequenceClassification, num_labels=1)
    logging.set_verbosity(verbosity)
    set_seed(args.seed)
    resize_embeddings(model, tokenizer)
    if type(model.score) is not torch.nn.Linear:
        raise TrainingError(f"the score head was quantized ({type(model.score).__name__}); it must stay a plain layer")
    torch.nn.init.normal_(model.score.weight, std=1 / (model.config.hidden_size + 1))
    model.config.use_cache = False
    settings = {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    if not model_args.adapter_path:
        return get_peft_model(model, lora_config(model_args, **settings))
    config = PeftConfig.from_pretrained(model_args.adapter_path)
    config.inference_mode = False
    for name, value in settings.items():
        setattr(config, name, value)
    head = model.score.weight.detach().clone()
    model = get_peft_model(model, config)
    state = load_file(Path(model_args.adapter_path) / "adapter_model.safetensors")
    set_peft_model_state_dict(model, {**state, SCORE: head})
    return model


def trainer_class():
    from trl import RewardTrainer

    from dialsum_trl.scale.checkpoints import AnyAdamW
    from dialsum_trl.training import CheckedTraining

    class PairTrainer(AnyAdamW, CheckedTraining, RewardTrainer):
        """TRL's trainer with checked gradients.

        Args:
            pad_id: `padding_id`; transformers scores a row at its last token that is another than this one.
        """

        def __init__(self, *args, pad_id: int, **kwargs):
            super().__init__(*args, **kwargs)
            self.data_collator.pad_token_id = self.pad_id = pad_id

        def compute_loss(self, *args, **kwargs):
            self.model.config.get_text_config().pad_token_id = self.pad_id  # `train` sets the tokenizer's
            return super().compute_loss(*args, **kwargs)

    return PairTrainer


def padding_id(tokenizer, rows: list[list[int]]) -> int:
    """The pad token, or where a row ends with it another that ends none: what is masked out, and only that, is padding.

    A row whose end of turn counts as padding would be trained on the token before it, and scored on the end of turn.
    """
    ends = {row[-1] for row in rows}
    return next(i for i in (tokenizer.pad_token_id, *range(len(tokenizer))) if i not in ends)


def score_pairs(model, rows: list[dict], pad_id: int) -> list[tuple[float, float]]:
    """The scores of each pair's chosen and rejected summary, computed as PPO computes them."""
    import torch

    from dialsum_trl.rl.learned_reward import backbone, last_token_scores

    head = model.get_base_model().score.modules_to_save["default"]
    model.eval()
    with torch.no_grad():
        texts = [row["prompt_ids"] + row[side] for row in rows for side in ("chosen_ids", "rejected_ids")]
        scores = last_token_scores(backbone(model), head, texts, pad_id)
    return list(zip(scores[::2], scores[1::2], strict=True))


def check_scores(trainer, names: list[str], scores) -> None:
    """Raises TrainingError with the first held-out pair whose scores are not finite."""
    from dialsum_trl.resume.whole import last_good

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

    from dialsum_trl import models
    from dialsum_trl.files import write_json
    from dialsum_trl.resume.sameness import describe, same_run
    from dialsum_trl.rl.adapters import upcast_trained
    from dialsum_trl.rl.rewards import SCALE_FILE
    from dialsum_trl.runs import peak_memory_gib, prepare_output_dir, train_loss
    from dialsum_trl.scale.sharding import whole_model
    from dialsum_trl.share import hub

    checkpoint = prepare_output_dir(args)
    push_when_done = hub.plan_push(args, model_args)
    batch_arithmetic(args, pair_args.effective_batch_size)
    train, held = read_sides(pair_args.pairs_file, pair_args.eval_pairs_file, pair_args.held_out, args.seed)
    tokenizer = models.tokenizer_of(model_args, prompt)
    stop_ids = models.stop_token_ids(tokenizer)
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
    hub.keep_record(trainer, tokenizer, model_args, prompt, method="reward model")
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
    hub.save_adapter(trainer, tokenizer, model_args, {})
    if is_main_process():
        write_json(Path(args.output_dir) / SCALE_FILE, {**scale, "accuracy": accuracy, "baselines": baselines})
    push_when_done()
    return figures
