"""What stages share that learn from pairs or rewards: `PairArguments`, `RewardArguments`, `ONLINE_TRAINING`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import AT_LEAST_0, BELOW_1, COUNT
from dialsum_trl.core.settings.defaults import ADAPTER_TRAINING, MAX_LENGTH, MAX_NEW_TOKENS
from dialsum_trl.core.settings.flags import flag
from dialsum_trl.models.file_names import SCALE_FILE
from dialsum_trl.rl.rewards import NAMES

ONLINE_TRAINING = dict(  # what PPO and GRPO have alike
    **ADAPTER_TRAINING,
    learning_rate=1e-5,
    lr_scheduler_type="constant_with_warmup",
    warmup_steps=4,
    num_train_epochs=1,
    max_grad_norm=1.0,
    max_completion_length=MAX_NEW_TOKENS,
    eval_strategy="steps",
    eval_steps=20,
    eval_on_start=True,  # what dev summaries gain, and PPO's tripwire on their ROUGE, is measured from here
    save_strategy="steps",
    save_steps=20,
    save_total_limit=2,
    logging_steps=2,
)

FAST = "Compute on packs through fused layers, if the model allows it; false: padded, as TRL does."


@dataclass
class PairArguments:
    pairs_file: str | None = flag(
        None, "JSONL of preference pairs (recipes/preferences.py, or human preferences).", may_change=True
    )
    eval_pairs_file: str | None = flag(None, "Held-out pairs; default: a share of --pairs_file.", may_change=True)
    held_out: float = flag(
        0.1, "Share of the dialogues held out when there is no --eval_pairs_file.", bounds=BELOW_1, may_change=True
    )
    effective_batch_size: int = flag(
        32,
        "Pairs per optimizer step over all processes; accumulation is derived unless given.",
        bounds=COUNT,
        may_change=True,
    )
    fast: bool = flag(True, FAST, may_change=True)


@dataclass
class RewardArguments:
    """The rewards that PPO and GRPO learn from."""

    reward_functions: list[str] = flag(
        ["rouge"],
        f"Rewards without a model: {', '.join(NAMES)}, or your own module.function; none: the reward adapter alone.",
    )
    reward_adapter_path: str | None = flag(
        None, "Adapter of recipes/reward.py; its score counts as the last reward.", may_change=True
    )
    reward_model_weight: float = flag(
        1.0,
        "Weight of its (standardized) score; functions have weight 1. Or give --reward_weights.",
        bounds="(-inf, inf)",
    )
    reward_length_control: bool = flag(False, "Take out what its score gains with a summary's length.")
    rouge_rows: int | Literal["all"] = flag(64, "Dev rows (or all) that each evaluation summarizes.", bounds=AT_LEAST_0)
    max_length: int = flag(MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.", bounds=COUNT)
    max_rouge_drop: float = flag(
        2.0, "Tripwire: points of dev ROUGE (mean of 1, 2, L) below the start.", bounds="[0, inf]"
    )
    max_gaming_drop: float = flag(
        0.5, "Tripwire: points of dev ROUGE below the start while the dev reward is above it.", bounds="[0, inf]"
    )

    def __post_init__(self) -> None:
        if self.reward_functions == ["none"]:
            self.reward_functions = []
        if not self.reward_functions and not self.reward_adapter_path:
            raise InputError("no reward: give --reward_functions rouge ... or --reward_adapter_path outputs/reward")
        if self.reward_length_control and not self.reward_adapter_path:
            raise InputError("--reward_length_control true: there is no reward adapter; give --reward_adapter_path")
        for file in ("adapter_model.safetensors", SCALE_FILE):
            if self.reward_adapter_path and not (Path(self.reward_adapter_path) / file).exists():
                raise InputError(
                    f"--reward_adapter_path {self.reward_adapter_path}: holds no {file}; give the folder of "
                    f"recipes/reward.py"
                )

    def weights(self) -> list[float]:
        """One per reward, if `--reward_weights` is not given."""
        return [1.0] * len(self.reward_functions) + ([self.reward_model_weight] if self.reward_adapter_path else [])

    def check_weights(self, weights: list[float] | None) -> None:
        """Raises InputError when `--reward_weights` is not one per reward."""
        names = [*self.reward_functions, *(["reward_model"] if self.reward_adapter_path else [])]
        if weights is not None and len(weights) != len(names):
            raise InputError(f"--reward_weights: {len(weights)} for {len(names)} rewards ({', '.join(names)})")
