"""Several LoRA adapters on one frozen base: the rooms of Phase 3.

peft's `set_adapter` decides which adapter is used *and* which trains: it freezes every other one, so that a critic
whose adapter is switched on only for its own forward never learns. Here the two are apart: `Rooms.active` changes what
is used and leaves `requires_grad` as it was.
"""

import copy
import hashlib
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file

from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.models.adapters import POLICY, REWARD, copy_weights, load_adapter_state
from dialsum_trl.models.files import check_adapter_files

SCORE = "base_model.model.score.weight"  # the reward head's name in a saved reward adapter


def add_copy(model, source: str, name: str) -> None:
    """Adds adapter `name` with the settings and the weights of `source`, neither active nor trained."""
    model.add_adapter(name, copy.deepcopy(model.peft_config[source]))
    copy_weights(model, source, name)
    model.set_requires_grad(name, False)


def add_reward(model, folder: str | Path) -> torch.nn.Linear:
    """Adds the adapter of a trained reward model, frozen, and returns its score head.

    Raises:
        InputError: `folder` holds no reward adapter, or one of another base.
    """
    from peft import PeftConfig

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


class Rooms:
    """Which adapter of `model` is used, apart from which ones train."""

    def __init__(self, model, trained: tuple[str, ...]):
        self.model, self.trained = model, trained
        self._use(POLICY)

    def _use(self, name: str) -> None:
        self.model.base_model.set_adapter(name, inference_mode=True)
        self.model.set_requires_grad(list(self.trained))

    @contextmanager
    def active(self, name: str):
        """Runs forwards (and backwards: checkpointed layers are recomputed) with adapter `name`, then the policy's."""
        self._use(name)
        try:
            yield
        finally:
            self._use(POLICY)


def fingerprints(model) -> dict[str, str]:
    """A hash of the weights of each adapter, and of everything else as `"base"` (heads: their module's name)."""
    hashes = {}
    for name, tensor in sorted(model.state_dict().items()):
        rooms = [room for room in model.peft_config if f".{room}." in f"{name}."]
        room = rooms[0] if rooms else "value_head" if name.startswith("value_head") else "base"
        raw = tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy()
        hashes.setdefault(room, hashlib.sha256()).update(raw)
    return {room: digest.hexdigest() for room, digest in hashes.items()}
