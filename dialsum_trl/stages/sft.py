"""Supervised fine-tuning with QLoRA: its flags, its settings and `train_sft`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from dialsum_trl.core.launcher import current, prepare_allocator
from dialsum_trl.core.settings.bounds import AT_LEAST_0, COUNT, POSITIVE
from dialsum_trl.core.settings.defaults import ADAPTER_TRAINING, MAX_LENGTH, MAX_NEW_TOKENS
from dialsum_trl.core.settings.flags import (
    TRAIN_REFERENCES,
    DataArguments,
    ModelArguments,
    PromptArguments,
    RougeArguments,
    flag,
)
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import (
    LOADING,
    NEW_ADAPTER,
    PAD_TOKEN,
    TRAINING,
    TRUNCATION_MODE,
    deals_rows,
)


@dataclass
class SFTArguments:
    effective_batch_size: int = flag(
        64,
        "Rows per optimizer step over all processes; accumulation is derived unless given.",
        bounds=COUNT,
        may_change=True,
    )
    fast: bool = flag(
        True, "Packing, variable-length attention and compiled layers; false: plain TRL, padded.", may_change=True
    )
    memory_gib: float | None = flag(
        None, "Limit on GPU memory, GiB; default: what the GPU has free.", bounds=POSITIVE, may_change=True
    )
    train_references: Literal["all", "first"] = flag("all", TRAIN_REFERENCES)
    rouge_rows: int | Literal["all"] = flag(
        32, "Dev rows (or all) summarized at each evaluation for ROUGE; 0 switches it off.", bounds=AT_LEAST_0
    )
    rouge_max_new_tokens: int = flag(MAX_NEW_TOKENS, "Longest summary in those evaluations, tokens.", bounds=COUNT)
    loraplus_lr_ratio: float | None = flag(
        None, "LoRA+: learning rate of each B, as a multiple of A's; default: the same.", bounds=POSITIVE
    )
    # names that the user set, by `settings.resolve`; no flag, and no part of a checkpoint
    given: ClassVar[frozenset[str]] = frozenset()


SFT = Stage(
    "sft",
    job="dialsum_trl.stages.jobs.sft",
    groups=(DataArguments, PromptArguments, ModelArguments, RougeArguments, SFTArguments),
    settings=dict(
        **ADAPTER_TRAINING,
        ddp_find_unused_parameters=False,  # every adapter takes part in every step
        num_train_epochs=3,
        per_device_train_batch_size=8,
        effective_batch_size=64,  # 8 x accumulation 8 on one GPU; derived for any number of processes
        learning_rate=2e-5,  # chosen on another corpus; on Korean DialogSum also try 5e-5 and 1e-4
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # below 1: a share of all steps
        optim="paged_adamw_32bit",
        max_grad_norm=1.2,
        weight_decay=0.1,
        max_length=MAX_LENGTH,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",  # rouge_mean chooses by the summaries instead
        logging_steps=10,
        ddp_broadcast_buffers=False,  # the only buffers are rotary frequencies, equal on all processes
    ),
    trainer="trl.SFTConfig",
    memory_flags=("--memory_gib", "--per_device_train_batch_size", "--max_length"),
    unread=(
        LOADING,
        *TRAINING,
        Unread("packing packing_strategy eval_packing", "rows are packed already", lambda values: values["fast"]),
        Unread(
            "packing packing_strategy eval_packing",
            "--fast false pads rows; for packs leave out both",
            lambda values: not values["fast"],
        ),
        Unread(
            f"{NEW_ADAPTER} loraplus_lr_ratio",
            "all weights are trained, and no adapter; leave it out, or give --use_peft true",
            lambda values: not values["use_peft"],
        ),
        Unread(
            "loraplus_lr_ratio",
            "the optimizer is split between processes and has one learning rate; train with ddp.yaml",
            lambda values: current().shards_weights,
        ),
        Unread(
            "dataloader_drop_last train_sampling_strategy",
            "packs have an order of their own and use all rows; leave it out, or give --fast false",
            lambda values: values["fast"],
        ),
        Unread(
            "accelerator_config",
            "packs are dealt to the processes by a plan of their own; leave it out, or give --fast false",
            lambda values: values["fast"] and deals_rows(values),
        ),
        Unread(
            "padding_free pad_to_multiple_of remove_unused_columns auto_find_batch_size",
            "packs have no padding, two columns and a plan by the GPU's memory; leave it out, or give --fast false",
            lambda values: values["fast"],
        ),
        Unread(
            "dataset_text_field dataset_kwargs dataset_num_proc",
            "rows are encoded before the trainer gets them; --dialogue_column and --summary_column name columns",
        ),
        PAD_TOKEN,
        Unread("assistant_only_loss", "only the summary is trained on, the assistant's turn"),
        Unread("completion_only_loss", "only the summary is trained on", fine=(True,)),
        Unread("eos_token", "the chat template says what ends a turn"),
        Unread("shuffle_dataset", "every epoch is shuffled, by --data_seed"),
        TRUNCATION_MODE,
    ),
    before=prepare_allocator,
)


train_sft = command(
    SFT,
    "train_sft",
    """Trains an adapter on dialogues and summaries, and leaves it in `output_dir`.

    Returns:
        The figures of the closing table (losses, ROUGE, tokens, seconds, peak GiB).
    """,
)
