"""GRPO from an SFT adapter: PPO's rewards through TRL's GRPOTrainer, with a KL to the SFT adapter."""

from dataclasses import dataclass

from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments, RougeArguments, flag
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.preference_flags import FAST, ONLINE_TRAINING, RewardArguments
from dialsum_trl.stages.common.unread_flags import IMPORTANCE_SAMPLING, LOADING, ROLLOUTS, TRAINING


@dataclass
class GRPOArguments:
    fast: bool = flag(True, FAST, may_change=True)


GRPO = Stage(
    "grpo",
    job="dialsum_trl.stages.jobs.grpo",
    groups=(DataArguments, PromptArguments, ModelArguments, RougeArguments, RewardArguments, GRPOArguments),
    settings=dict(
        **ONLINE_TRAINING,
        ddp_find_unused_parameters=False,  # every adapter takes part in every step
        beta=0.04,  # TRL's default of 0 lets the policy drift
        num_generations=8,
        num_generations_eval=1,  # dev summaries are greedy
        per_device_train_batch_size=8,
        gradient_accumulation_steps=8,
        mask_truncated_completions=True,  # summaries cut by the limit are left out of the loss
        disable_dropout=True,
    ),
    trainer="trl.GRPOConfig",
    memory_flags=("--per_device_train_batch_size", "--max_length", "--max_completion_length"),
    unread=(
        LOADING,
        *TRAINING,
        *ROLLOUTS,
        Unread(
            IMPORTANCE_SAMPLING,
            "it belongs to vLLM; leave it out, or give --use_vllm true",
            lambda values: not values["use_vllm"],
        ),
    ),
)


train_grpo = command(
    GRPO,
    "train_grpo",
    """Trains the SFT adapter on rewards and leaves the policy adapter alone in `output_dir`.

    Returns:
        The figures of the closing table (reward and KL of the first and the last steps, scores on dev).
    """,
)
