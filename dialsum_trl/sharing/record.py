"""The record of a run: its settings and results, saved with the adapter and shown on its card."""

import hashlib
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, Trainer

from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments
from dialsum_trl.core.settings.prompt_texts import RECORDED
from dialsum_trl.core.versions import versions
from dialsum_trl.models.provenance import base_origin
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.templates import template_kwargs

ROUGE = ("eval_rouge_mean", "eval_rouge1", "eval_rouge2", "eval_rougeL")
REPORTED_METRICS = ("eval_loss", *ROUGE, "eval_hit_limit")
SETTINGS = (  # fields of the trainer's arguments that a record has, where the trainer has them
    "learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "optim", "weight_decay", "max_grad_norm",
    "max_length", "beta", "kl_coef", "critic_learning_rate", "ppo_epochs", "rollout_batch_size", "seed",
)  # fmt: skip


def run_record(
    trainer: Trainer,
    metrics: dict[str, float],
    *,
    tokenizer: PreTrainedTokenizerBase,
    model_args: ModelArguments,
    prompt: PromptArguments,
    data: DataArguments | None = None,
    method: str = "SFT",
) -> dict[str, Any]:
    """The content of `dialsum.json`: base, prompt style, template hash, settings, data, scores, versions.

    Args:
        trainer: a `checked.CheckedTrainer`, which has `rows_per_step` and `dev_rouge`.
        metrics: of the last evaluation.
        data: the card names its training and its evaluation file.
        method: how it was trained, for the card.

    `base_model` and `base_revision` load the base on this machine from any folder; `base_origin` names its
    Hub repository and commit.
    """
    template_values = template_kwargs(tokenizer)
    name, revision = model_args.model_name_or_path, model_args.model_revision
    origin = base_origin(name, revision)
    return {
        "method": method,
        **({"task_type": "SEQ_2_SEQ_LM"} if trainer.model.config.is_encoder_decoder else {}),
        "base_model": origin.repo_id if origin.loads_by_name else str(Path(name).expanduser().absolute()),
        "base_revision": (origin.commit if origin.loads_by_name else None) or revision,
        "base_origin": {"repo_id": origin.repo_id, "commit": origin.commit},
        "dtype": model_args.dtype,
        "quantization": model_args.quantization,
        **{name: getattr(prompt, name) for name in ("prompt_style", "instructions", *RECORDED)},
        "template_sha256": hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest(),
        "pinned_date": template_values.get("date_string"),
        **{name: value for name, value in template_values.items() if name != "date_string"},
        "stop_tokens": tokenizer.convert_ids_to_tokens(stop_token_ids(tokenizer)),
        "metrics": {key: value for key, value in metrics.items() if key in REPORTED_METRICS},
        "settings": _settings(trainer, model_args),
        "data": {"rows": len(trainer.train_dataset), **(_files(data) if data else {})},
        "evaluation": _evaluation(trainer, data),
        "gpu_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2) if torch.cuda.is_available() else None,
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _settings(trainer: Trainer, model_args: ModelArguments) -> dict:
    """Settings of the training, and of the adapter what adapter_config.json does not say."""
    values = trainer.args.to_dict()
    if "kl_coef" in values:  # PPO: GRPO's KL in the loss is not used
        del values["beta"]
    shown = {name: values[name] for name in SETTINGS if values.get(name) is not None}
    shown |= {"rows_per_step": trainer.rows_per_step, "optimizer_steps": trainer.state.global_step}
    if ratio := getattr(trainer, "loraplus_lr_ratio", None):
        shown["loraplus_lr_ratio"] = ratio
    if model_args.init_lora_weights != "default":
        shown["init_lora_weights"] = model_args.init_lora_weights
    return shown


def _files(data: DataArguments) -> dict:
    return {"file": data.train_file and Path(data.train_file).name, "dataset_name": data.dataset_name}


def _evaluation(trainer: Trainer, data: DataArguments | None) -> dict | None:
    rouge = trainer.dev_rouge
    if rouge is None or rouge.report is None:
        return None
    source = (data.eval_file or data.dataset_name) if data else None
    return {
        "file": Path(source).name if source else "the evaluation rows",
        "rouge": rouge.report.to_dict(),
        "decoding": f"greedy, at most {rouge.max_new_tokens} new tokens",
    }
