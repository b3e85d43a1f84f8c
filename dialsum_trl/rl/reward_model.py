"""The reward model itself: base with a score head, its trainer, its scores."""

import statistics
from pathlib import Path

import torch
import trl
from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging
from trl.trainer.utils import disable_dropout_in_model

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.adapters import POLICY
from dialsum_trl.models.base import load_training_base
from dialsum_trl.models.lora import add_lora
from dialsum_trl.rl.adapter_roles import SCORE
from dialsum_trl.rl.learned_reward import backbone, last_token_scores
from dialsum_trl.rl.packed_forwards import fuse
from dialsum_trl.training.checked import CheckedTrainer


def load_model(model_args: ModelArguments, args, tokenizer):
    """The quantized base with a LoRA adapter (the SFT adapter's weights where one is given) and a plain score head."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it reports the missing score head and the unused language head
    model = load_training_base(model_args, args, tokenizer, auto_class=AutoModelForSequenceClassification, num_labels=1)
    logging.set_verbosity(verbosity)
    if type(model.score) is not torch.nn.Linear:
        raise TrainingError(f"the score head was quantized ({type(model.score).__name__}); it must stay unquantized")
    torch.nn.init.normal_(model.score.weight, std=1 / (model.config.hidden_size + 1))
    settings = {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    if not model_args.adapter_path:
        return add_lora(model, model_args, **settings)
    config = PeftConfig.from_pretrained(model_args.adapter_path)
    config.inference_mode = False
    for name, value in settings.items():
        setattr(config, name, value)
    head = model.score.weight.detach().clone()
    model = get_peft_model(model, config)
    state = load_file(Path(model_args.adapter_path) / "adapter_model.safetensors")
    set_peft_model_state_dict(model, {**state, SCORE: head})
    return model


class RewardTrainer(CheckedTrainer, trl.RewardTrainer):
    """TRL's trainer with checked gradients.

    Args:
        pad_id: `padding_id`; transformers scores a row at its last token that is not this one.
        lengths: tokens of each training pair, its prompt counted once.
        quantization: how the base is stored: "4bit", "8bit" or "none".
        fast: whether scores are computed on packs through fused layers.
    """

    def __init__(
        self, model, args, *, pad_id: int, lengths: list[int], quantization: str = "none", fast: bool = True, **kwargs
    ):
        if args.disable_dropout:
            disable_dropout_in_model(model)
        fuse(model, args, (POLICY,), fast, (lengths, quantization))
        super().__init__(model, args=args, **kwargs)
        self.data_collator.pad_token_id = self.pad_id = pad_id

    def compute_loss(self, *args, **kwargs):
        self.model.config.get_text_config().pad_token_id = self.pad_id  # `train` sets the tokenizer's
        return super().compute_loss(*args, **kwargs)


def padding_id(tokenizer, rows: list[list[int]]) -> int:
    """The pad token, or another one if a row ends with it, so that exactly the masked positions are padding.

    A row whose end of turn counts as padding would be trained on the token before it, and scored on the end of turn.
    """
    ends = {row[-1] for row in rows}
    return next(i for i in (tokenizer.pad_token_id, *range(len(tokenizer))) if i not in ends)


def length_trend(scores: list[float], lengths: list[int]) -> dict[str, float]:
    """`score_per_token` (least squares) and `tokens_mean`: how scores follow the lengths of the summaries."""
    even = len(set(lengths)) == 1
    slope = 0.0 if even else statistics.linear_regression(lengths, scores).slope
    return {"score_per_token": slope, "tokens_mean": statistics.fmean(lengths)}


def score_pairs(model, rows: list[dict], pad_id: int) -> list[tuple[float, float]]:
    """The scores of each pair's chosen and rejected summary, computed as PPO computes them."""
    head = model.get_base_model().score.modules_to_save["default"]
    model.eval()
    with torch.no_grad():
        texts = [row["prompt_ids"] + row[side] for row in rows for side in ("chosen_ids", "rejected_ids")]
        scores = last_token_scores(backbone(model), head, texts, pad_id)
    return list(zip(scores[::2], scores[1::2], strict=True))
