"""DPO from an SFT adapter: preference pairs through TRL's DPOTrainer, the reference is the SFT adapter."""

from dialsum_trl.core.settings.defaults import ADAPTER_TRAINING, MAX_LENGTH
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.preference_flags import PairArguments
from dialsum_trl.stages.common.unread_flags import FIXED_REFERENCE, LOADING, PAD_TOKEN, TRAINING, TRUNCATION_MODE

DPO = Stage(
    "dpo",
    job="dialsum_trl.stages.jobs.dpo",
    groups=(PromptArguments, ModelArguments, PairArguments),
    settings=dict(
        **ADAPTER_TRAINING,
        ddp_find_unused_parameters=False,  # every adapter takes part in every step
        learning_rate=5e-6,
        beta=0.1,
        num_train_epochs=1,
        per_device_train_batch_size=4,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        max_grad_norm=1.0,
        max_length=MAX_LENGTH,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        logging_steps=10,
        logging_first_step=True,  # the first loss, which a run that continues reads in its log
    ),
    trainer="trl.DPOConfig",
    memory_flags=("--per_device_train_batch_size", "--max_length", "--activation_checkpointing true"),
    unread=(
        LOADING,
        *TRAINING,
        PAD_TOKEN,
        FIXED_REFERENCE,
        Unread("dataset_num_proc", "pairs are encoded before the trainer gets them"),
        Unread("label_smoothing_factor", "its loss has no labels to smooth; use --label_smoothing"),
        TRUNCATION_MODE,
    ),
)


train_dpo = command(
    DPO,
    "train_dpo",
    """Trains the SFT adapter on preference pairs and leaves the policy adapter alone in `output_dir`.

    Returns:
        The figures of the closing table (first loss, held-out accuracy and margin of the implicit rewards).
    """,
)
