"""A reward model from preference pairs: the story of the job, read top to bottom in `train_reward`."""

from dataclasses import dataclass

from dialsum_trl.core.settings.defaults import MAX_LENGTH
from dialsum_trl.core.settings.flags import flag

REWARD_SETTINGS = dict(
    learning_rate=1e-4,
    num_train_epochs=1,  # a second pass overfits pairs
    per_device_train_batch_size=8,
    lr_scheduler_type="cosine",
    warmup_steps=0.1,
    max_grad_norm=1.0,
    max_length=MAX_LENGTH,
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
