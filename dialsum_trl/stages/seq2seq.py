"""The encoder-decoder baseline (KoBART; T5 and mBART by flag): its flags and `train_seq2seq`."""

from dataclasses import dataclass
from typing import Literal

from dialsum_trl.core.settings.bounds import COUNT
from dialsum_trl.core.settings.defaults import MAX_LENGTH
from dialsum_trl.core.settings.flags import TRAIN_REFERENCES, DataArguments, ModelArguments, RougeArguments, flag
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.data.patterns import MASKS
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import NO_NEW_ADAPTER, TRAINING


@dataclass
class Seq2SeqArguments:
    effective_batch_size: int = flag(
        32,
        "Rows per optimizer step over all processes; accumulation is derived unless given.",
        bounds=COUNT,
        may_change=True,
    )
    max_source_length: int = flag(
        MAX_LENGTH, "Tokens that the encoder reads; longer dialogues lose middle turns.", bounds=COUNT
    )
    max_target_length: int = flag(200, "Tokens of a summary, in training and when generating.", bounds=COUNT)
    train_references: Literal["all", "first"] = flag("all", TRAIN_REFERENCES)
    mask_tokens: list[str] = flag(list(MASKS), "Each becomes one token; none leaves the vocabulary unchanged.")
    language: str | None = flag(None, "Language code of both sides, for models that need one (mBART: ko_KR).")
    source_prefix: str | None = flag(
        None, "Text before each dialogue, as `summarize: ` for T5 models of several tasks; default: the model's own."
    )


SEQ2SEQ = Stage(
    "seq2seq",
    job="dialsum_trl.stages.jobs.seq2seq",
    groups=(DataArguments, ModelArguments, RougeArguments, Seq2SeqArguments),
    trainer="transformers.Seq2SeqTrainingArguments",
    memory_flags=("--per_device_train_batch_size", "--max_source_length", "--activation_checkpointing true"),
    unread=(
        *TRAINING,
        Unread("sortish_sampler", "transformers no longer reads it; use --train_sampling_strategy group_by_length"),
        NO_NEW_ADAPTER,
        Unread("adapter_path bnb_4bit_quant_storage", "all weights are trained"),
    ),
)


train_seq2seq = command(
    SEQ2SEQ,
    "train_seq2seq",
    """Fine-tunes an encoder-decoder in full and leaves it in `output_dir`, for `recipes/predict.py`.

    Returns:
        The figures of the closing table.
    """,
)
