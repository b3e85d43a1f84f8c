"""The training stages on the toys: small settings, a run, and what continues from one of its checkpoints."""

import importlib
import json
import shutil
from pathlib import Path

from tests import phase3_toys as toys

ADAPTER, CRITIC = "adapter_model.safetensors", "critic.safetensors"
NAMES = ("sft", "seq2seq", "reward", "dpo", "ppo", "grpo")
STAGES = {name: vars(importlib.import_module(f"dialsum_trl.stages.{name}"))[f"train_{name}"] for name in NAMES}
PAIRS = dict(held_out=0.25, effective_batch_size=8, save_strategy="no")
ONLINE = dict(
    train_file=toys.TRAIN, reward_functions=["hangul_share", "no_repetition"], per_device_train_batch_size=4,
    max_completion_length=8, max_steps=4, warmup_steps=0, save_steps=2,
)  # fmt: skip
SMALL = {
    "dpo": PAIRS,
    "reward": PAIRS | dict(learning_rate=2e-2, num_train_epochs=3),
    "grpo": ONLINE | dict(num_generations=4, gradient_accumulation_steps=2, mask_truncated_completions="false",
                          logging_steps=1),
    "ppo": ONLINE | dict(eval_file=toys.DEV, rollout_batch_size=8, max_truncated=1.1, critic_learning_rate=1e-2,
                         rouge_rows=4, rouge_tokenizer="whitespace", eval_steps=2),
}  # fmt: skip


def argv(stage: str, folders: dict, output: Path, **changes) -> list[str]:
    """Flags of a small run from the toys' SFT adapter (and pairs); a change to None leaves a flag out."""
    settings = dict(
        adapter_path=folders["sft"], model_name_or_path=folders["base"], dtype="float32", quantization="none",
        use_cpu=True, output_dir=output, learning_rate=1e-2, disable_tqdm=True,
    )  # fmt: skip
    settings |= {"pairs_file": folders["pairs"]} if stage in ("dpo", "reward") else {}
    settings |= SMALL.get(stage, {}) | changes
    return toys.flags({name: value for name, value in settings.items() if value is not None})


def train(stage: str, folders: dict, output: Path, **changes) -> dict:
    """The closing figures of such a run."""
    return STAGES[stage]({}, argv(stage, folders, output, **changes))


def train_twice(stage: str, folders: dict, root: Path, step: int, then: dict | None = None, **changes) -> list[Path]:
    """Trains whole, then again from that step's checkpoint alone and with `then`; both folders."""
    whole, again = root / "whole", root / "again"
    train(stage, folders, whole, save_total_limit=9, **changes)
    shutil.copytree(whole / f"checkpoint-{step}", again / f"checkpoint-{step}")
    train(stage, folders, again, **{"save_total_limit": 9, **changes, **(then or {}), "resume_from_checkpoint": True})
    return [whole, again]


def history(folder: Path) -> list[dict]:
    return json.loads((folder / "trainer_state.json").read_text())["log_history"]


def logged(folder: Path, key: str = "loss") -> list[float]:
    """The values of one figure, in the order in which they were logged."""
    return [entry[key] for entry in history(folder) if key in entry]


def same_file(one: Path, other: Path, name: str = ADAPTER) -> bool:
    return (one / name).read_bytes() == (other / name).read_bytes()
