"""PPO from an SFT adapter: its settings and `train_ppo`."""

from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments, RougeArguments
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.preference_flags import ONLINE_TRAINING, RewardArguments
from dialsum_trl.stages.common.unread_flags import IMPORTANCE_SAMPLING, LOADING, ROLLOUTS, TRAINING

PPO = Stage(
    "ppo",
    job="dialsum_trl.stages.jobs.ppo",
    groups=(DataArguments, PromptArguments, ModelArguments, RougeArguments, RewardArguments),
    settings=dict(
        **ONLINE_TRAINING,
        critic_learning_rate=5e-5,
        per_device_train_batch_size=16,  # fewer where a rollout does not divide among that many processes
        rollout_batch_size=64,
        ppo_epochs=2,
        kl_coef=0.05,
    ),
    trainer="dialsum_trl.rl.ppo_config.PPOConfig",
    memory_flags=("--per_device_train_batch_size", "--max_length", "--max_completion_length"),
    unread=(
        LOADING,
        *TRAINING,
        *ROLLOUTS,
        Unread(
            "gradient_accumulation_steps steps_per_generation generation_batch_size",
            "it follows from --rollout_batch_size, --num_mini_batches and --per_device_train_batch_size; give those",
        ),
        Unread("pad_to_multiple_of router_aux_loss_coef", "PPO has batches and losses of its own"),
        Unread(
            (
                "epsilon_high delta loss_type importance_sampling_level mask_truncated_completions scale_rewards "
                "multi_objective_aggregation top_entropy_quantile off_policy_mask_threshold entropy_coef "
                "use_adaptive_entropy entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target "
                "use_bias_correction_kl sapo_temperature_neg sapo_temperature_pos vespo_k_pos vespo_lambda_pos "
                "vespo_k_neg vespo_lambda_neg"
                f" {IMPORTANCE_SAMPLING}"
            ),
            "it belongs to GRPO's loss; leave it out, or use recipes/grpo.py",
        ),
    ),
    replicated=True,  # its trainer synchronizes its own gradients
)


train_ppo = command(
    PPO,
    "train_ppo",
    """Trains the SFT adapter further on rewards and leaves the policy adapter alone in `output_dir`.

    Returns:
        The figures of the closing table (rewards and ROUGE at the start and at the best step, KL, seconds, peak GiB).
    """,
)
