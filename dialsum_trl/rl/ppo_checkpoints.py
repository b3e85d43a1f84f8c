"""Checkpoints of PPO and GRPO: the policy adapter as in all runs, and files that only a resumed run needs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from dialsum_trl.models.adapters import CRITIC, POLICY, adapter_state, load_adapter_state
from dialsum_trl.models.file_names import WEIGHTS
from dialsum_trl.training.checkpoints.whole import take_place

CRITIC_FILE, WATCH_FILE, BEST_FOLDER = "critic.safetensors", "ppo_state.json", "best"
HEAD_PREFIX = "value_head."


def put_best(output_dir: Path, fill: Callable[[Path], object]) -> None:
    """Makes what `fill(folder)` writes the run's best adapter: written to a temporary folder, then renamed."""
    partial = output_dir / f".{BEST_FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    fill(partial)
    take_place(partial, output_dir / BEST_FOLDER)


def load_policy_weights(model, folder: Path) -> None:
    """Loads a saved policy adapter."""
    load_adapter_state(model, load_file(folder / WEIGHTS), POLICY)


def save_watch(watch: dict, checkpoint: Path, output_dir: Path) -> None:
    """Writes the state of `PolicyWatch`, and the best adapter so far."""
    (checkpoint / WATCH_FILE).write_text(json.dumps(watch) + "\n", encoding="utf-8")
    if watch["best_step"] is not None:  # the evaluations after this checkpoint may replace it
        shutil.copytree(output_dir / BEST_FOLDER, checkpoint / BEST_FOLDER)


def load_watch(checkpoint: Path) -> dict | None:
    """The state of `PolicyWatch` in a checkpoint; None in those of GRPO before it had one."""
    path = checkpoint / WATCH_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save_critic(model, checkpoint: Path) -> None:
    """Writes the critic: adapter and head."""
    state = {k: v.contiguous() for k, v in adapter_state(model, CRITIC).items()}
    state |= {HEAD_PREFIX + name: value for name, value in model.value_head.state_dict().items()}
    save_file(state, checkpoint / CRITIC_FILE)


def load_critic(model, checkpoint: Path) -> None:
    """Loads the critic of a checkpoint."""
    state = load_file(checkpoint / CRITIC_FILE)
    head = {k.removeprefix(HEAD_PREFIX): state.pop(k) for k in list(state) if k.startswith(HEAD_PREFIX)}
    model.value_head.load_state_dict(head)
    load_adapter_state(model, state, CRITIC)
