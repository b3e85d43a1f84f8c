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
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from dialsum_trl.errors import InputError, TrainingError
from dialsum_trl.share.weights import check_adapter_files, load_adapter

POLICY, REFERENCE, CRITIC, REWARD = "default", "reference", "critic", "reward"
SCORE = "base_model.model.score.weight"  # the reward head's name in a saved reward adapter


def load_policy(base, adapter_path: str | Path):
    """The base with the adapter of an earlier stage, ready to train further.

    Raises:
        InputError: it cannot be loaded, or is no LoRA adapter of a language model.
    """
    model = load_adapter(base, adapter_path, trainable=True)
    if model.peft_config[POLICY].modules_to_save:
        raise InputError(
            f"--adapter_path {adapter_path}: has full layers ({model.peft_config[POLICY].modules_to_save})"
        )
    return model


def load_base_and_policy(model_args, args, tokenizer):
    """The base that `ModelArguments` name on this process' device, with the policy of `--adapter_path`."""
    from transformers import set_seed

    from dialsum_trl.models import base_of, resize_embeddings

    set_seed(args.seed)
    base = base_of(model_args, args.device)
    resize_embeddings(base, tokenizer)
    base.config.use_cache = False
    return load_policy(base, model_args.adapter_path)


def add_copy(model, source: str, name: str) -> None:
    """Adds adapter `name` with the settings and the weights of `source`, neither active nor trained."""
    model.add_adapter(name, copy.deepcopy(model.peft_config[source]))
    copy_weights(model, source, name)
    model.set_requires_grad(name, False)


def copy_weights(model, source: str, target: str) -> None:
    """Makes adapter `target` hold what `source` holds, in its own dtype."""
    load_adapter_state(model, adapter_state(model, source), target)


def adapter_state(model, name: str) -> dict:
    """Copies of the tensors of adapter `name`, named as when saved, without tables that grew for added tokens."""
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return {key: tensor.clone() for key, tensor in state.items()}


def load_adapter_state(model, state: dict, name: str) -> None:
    """Loads tensors named as in a saved adapter into adapter `name`.

    Raises:
        TrainingError: a tensor of the adapter is missing in `state`, or has no place.
    """
    own, with_tables = (
        set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=tables))
        for tables in (False, True)
    )
    state = {key: value for key, value in state.items() if key in own or key not in with_tables}
    if differ := own ^ set(state):
        raise TrainingError(
            f"adapter {name}: {sorted(differ)[0]} is on one side only; it belongs to another base or run"
        )
    set_peft_model_state_dict(model, state, adapter_name=name)


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


def upcast_trained(model) -> None:
    """Keeps what is trained in float32 (TRL casts QLoRA adapters to bf16, where small updates are rounded away)."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def fingerprints(model) -> dict[str, str]:
    """A hash of the weights of each adapter, and of everything else as `"base"` (heads: their module's name)."""
    hashes = {}
    for name, tensor in sorted(model.state_dict().items()):
        rooms = [room for room in model.peft_config if f".{room}." in f"{name}."]
        room = rooms[0] if rooms else "value_head" if name.startswith("value_head") else "base"
        raw = tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy()
        hashes.setdefault(room, hashlib.sha256()).update(raw)
    return {room: digest.hexdigest() for room, digest in hashes.items()}
