"""Several LoRA adapters on one frozen base: policy, reference, critic and reward.

peft's `set_adapter` decides which adapter is used *and* which trains: it freezes every other one, so that a critic
whose adapter is active only for its own forward pass never learns. Here the two are separate: `active_adapter` changes
which is used and leaves `requires_grad` unchanged.
"""

import copy
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftConfig
from safetensors.torch import load_file

from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.models.adapters import POLICY, REWARD, copy_weights, load_adapter_state
from dialsum_trl.models.files import check_adapter_files

SCORE = "base_model.model.score.weight"  # the reward head's name in a saved reward adapter
TRL_REFERENCE = "ref"  # the adapter that TRL's trainers add as a copy of the policy


def add_copy(model, source: str, name: str) -> None:
    """Adds adapter `name` with the settings and the weights of `source`, neither active nor trained."""
    model.add_adapter(name, copy.deepcopy(model.peft_config[source]))
    copy_weights(model, source, name)
    model.set_requires_grad(name, False)


def add_reward(model, folder: str | Path) -> torch.nn.Linear:
    """Adds the adapter of a trained reward model, frozen, and returns its score head."""
    check_adapter_files(folder, "--reward_adapter_path")
    state, config = load_file(Path(folder) / "adapter_model.safetensors"), PeftConfig.from_pretrained(folder)
    if SCORE not in state:
        raise InputError(f"--reward_adapter_path {folder}: has no score head; it is no reward adapter")
    head = torch.nn.Linear(state[SCORE].shape[1], 1, bias=False)
    head.weight.data.copy_(state.pop(SCORE))
    config.modules_to_save, config.task_type = None, model.peft_config[POLICY].task_type
    model.add_adapter(REWARD, config)
    try:
        load_adapter_state(model, state, REWARD)
    except (TrainingError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--reward_adapter_path {folder}: does not fit this base ({reason})") from error
    model.set_requires_grad(REWARD, False)
    return head.requires_grad_(False).to(model.device)


def start_from(model, start: dict) -> None:
    """Copies the policy's start into TRL's reference adapter and into the policy.

    TRL's copy lacks the rows of added tokens, and TRL rounded the policy to bf16, but not its copy.

    Args:
        start: `adapter_state` of the policy before TRL's trainer was built.
    """
    load_adapter_state(model, start, TRL_REFERENCE)
    copy_weights(model, TRL_REFERENCE, POLICY)


@contextmanager
def active_adapter(model, name: str):
    """Runs forward passes (and backward: checkpointed layers are recomputed) with adapter `name`, then the policy's.

    `requires_grad` stays as it is.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def use(adapter: str) -> None:
        model.base_model.set_adapter(adapter, inference_mode=True)
        for parameter in trained:
            parameter.requires_grad_(True)

    use(name)
    try:
        yield
    finally:
        use(POLICY)
