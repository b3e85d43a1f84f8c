"""Settings of PPO: TRL's GRPOConfig with the quantities of Schulman et al. 2017 and Ziegler et al. 2019."""

import os
from dataclasses import dataclass
from typing import Literal

from trl import GRPOConfig

from dialsum_trl.core.settings.bounds import AT_LEAST_0, COUNT, POSITIVE, SHARE
from dialsum_trl.core.settings.flags import flag
from dialsum_trl.rl.checkpoint_steps import check_saves


@dataclass
class PPOConfig(GRPOConfig):
    """One rollout is `rollout_batch_size` completions; it is learned from in `ppo_epochs` passes of `num_mini_batches`
    optimizer steps. `epsilon` is the policy's clip range.

    Raises:
        ValueError: batch sizes that do not divide, a KL in the loss as well as in the reward, checkpoints in the
            middle of a rollout.
    """

    rollout_batch_size: int = flag(64, "Completions sampled before each update phase, over all processes.", "[2, inf)")
    num_mini_batches: int = flag(1, "Optimizer steps per pass over a rollout.", COUNT)
    ppo_epochs: int = flag(2, "Passes over a rollout.", COUNT)
    fast: bool = flag(True, "Score and learn on packs through fused layers, if the model allows it.", may_change=True)
    baseline: Literal["critic", "group"] = flag(
        "critic",
        "What a summary is compared with: a critic's values, or the others of its dialogue (group: no critic).",
    )
    num_generations: int | None = flag(1, "Completions per prompt; --baseline group needs two or more.")
    num_generations_eval: int | None = flag(1, "Dev summaries are greedy, one per dialogue.")
    max_completion_length: int | None = flag(100, "Longest sampled summary, tokens.")
    disable_dropout: bool = flag(True, "Dropout off: with it the ratios of an unchanged policy would not be one.")
    kl_coef: float = flag(0.05, "Weight of the per-token KL to the frozen SFT adapter inside the reward.", AT_LEAST_0)
    normalize_rewards: bool = flag(
        False, "Divide rewards by their standard deviation in the rollout, so that kl_coef fits rewards of any range."
    )
    gamma: float = flag(1.0, "Discount of later rewards.", SHARE)
    lam: float = flag(0.95, "Lambda of generalized advantage estimation.", SHARE)
    whiten_advantages: bool = flag(True, "Scale advantages to mean 0 and variance 1 over the rollout.")
    value_clip: float = flag(0.2, "How far a value may move from the rollout's before its loss is clipped.", POSITIVE)
    critic_learning_rate: float = flag(5e-5, "Peak learning rate of the critic (adapter and value head).", POSITIVE)
    missing_end_penalty: float = flag(
        1.0, "Subtracted from the reward of a summary cut by max_completion_length.", AT_LEAST_0
    )
    kl_target: float = flag(
        10.0, "Tripwire: mean KL of a rollout's summaries to the SFT adapter, nats per summary.", "[0, inf]"
    )
    max_truncated: float = flag(
        0.5, "Tripwire: share of a rollout's summaries cut by max_completion_length.", "[0, inf]"
    )

    def __post_init__(self):
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        at_once = self.per_device_train_batch_size * processes
        if self.rollout_batch_size % (at_once * self.num_mini_batches):
            raise ValueError(
                f"--rollout_batch_size {self.rollout_batch_size} does not divide into {self.num_mini_batches} mini-"
                f"batches of {processes} processes x --per_device_train_batch_size {self.per_device_train_batch_size}"
            )
        if self.rollout_batch_size % self.num_generations:
            raise ValueError(
                f"--rollout_batch_size {self.rollout_batch_size} does not divide into groups of --num_generations "
                f"{self.num_generations}"
            )
        if self.baseline == "group" and self.num_generations < 2:
            raise ValueError("--baseline group compares summaries of one dialogue: give --num_generations 4 or more")
        if self.beta:
            raise ValueError(f"--beta {self.beta}: PPO has its KL in the reward; use --kl_coef")
        if self.num_iterations != 1:
            raise ValueError(f"--num_iterations {self.num_iterations}: is called --ppo_epochs here")
        self.num_iterations = self.ppo_epochs
        self.steps_per_generation = self.rollout_batch_size // at_once
        self.gradient_accumulation_steps = self.steps_per_generation // self.num_mini_batches
        group, self.num_generations = self.num_generations, self.rollout_batch_size
        super().__post_init__()  # which requires groups of two or more that divide the rollout
        self.num_generations = group
        check_saves(self)
