"""The reward model from preference pairs: its flags, its settings and `train_reward`."""

from dataclasses import dataclass

from dialsum_trl.core.settings.defaults import ADAPTER_TRAINING, MAX_LENGTH
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments, flag
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.preference_flags import PairArguments
from dialsum_trl.stages.common.unread_flags import LABEL_SMOOTHING, LOADING, OWN_TOKENIZER, PAD_TOKEN, TRAINING


@dataclass
class RewardModelArguments:
    min_margin: float = flag(
        0.05, "By how much the held-out accuracy must beat both length baselines.", may_change=True
    )
    accept_weak: bool = flag(False, "Keep a reward model that does not beat them.", may_change=True)


REWARD = Stage(
    "reward",
    job="dialsum_trl.stages.jobs.reward",
    groups=(PromptArguments, ModelArguments, PairArguments, RewardModelArguments),
    settings=dict(
        **ADAPTER_TRAINING,
        ddp_find_unused_parameters=False,  # every adapter takes part in every step
        learning_rate=1e-4,
        num_train_epochs=1,  # a second pass overfits pairs
        per_device_train_batch_size=8,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        max_grad_norm=1.0,
        max_length=MAX_LENGTH,
        center_rewards_coefficient=0.01,  # scores around 0: only differences are trained otherwise
        eval_strategy="no",  # held-out accuracy is measured at the end, on scores as PPO uses them
        save_strategy="epoch",
        save_total_limit=1,
        logging_steps=10,
    ),
    trainer="trl.RewardConfig",
    memory_flags=("--per_device_train_batch_size", "--max_length", "--activation_checkpointing true"),
    unread=(
        *(LOADING, *TRAINING, PAD_TOKEN, OWN_TOKENIZER, LABEL_SMOOTHING),
        Unread(
            "init_lora_weights",
            "PPO shares its base with the policy, and a reward adapter has no rows to start from",
            fine=("gaussian", "orthogonal"),
        ),
    ),
)


train_reward = command(
    REWARD,
    "train_reward",
    """Trains a reward adapter and its score head, and fails if it only learned to count characters.

    Returns:
        The figures of the closing table (held-out accuracy, the length baselines, scores' mean and deviation).
    """,
)
