"""A checkpoint of somebody else: its names stay inside it, and its files hold tensors and settings, no code.

`files.json` says that a checkpoint is whole, not who made it. transformers reads its own torch files with
`weights_only=True`; DeepSpeed does not, and both join names from a checkpoint to paths without a look at them.
"""

import contextlib
import pickle
import re
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.file_names import PICKLE, WEIGHTS
from dialsum_trl.models.files import shards_of

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
PICKLES = {  # what transformers reads where the safetensors are not there; pytorch_model_fsdp.bin is FSDP's own
    PICKLE: (WEIGHTS,),
    "pytorch_model.bin": ("model.safetensors",),
    "pytorch_model.bin.index.json": ("model.safetensors", INDICES[0]),
}
LATEST, TAG = "latest", re.compile(r"global_step\d+")
BEST = re.compile(r"checkpoint-\d+")


def check_names(checkpoint: Path) -> None:
    """Raises InputError where a file of the checkpoint names one that is not in it, or weights are a pickle only."""
    for index in INDICES:
        if (checkpoint / index).exists():
            shards_of(checkpoint / index, "continue from another checkpoint")
    if (checkpoint / LATEST).exists():  # DeepSpeed's: the folder of its pieces
        tag = (checkpoint / LATEST).read_text(encoding="utf-8", errors="replace").strip()
        if not TAG.fullmatch(tag):
            raise InputError(
                f"{checkpoint / LATEST}: names {tag[:80]!r} where DeepSpeed names global_step and a number; continue "
                f"from another checkpoint"
            )
    for folder in (checkpoint, *(path for path in checkpoint.iterdir() if path.is_dir())):  # peft's named adapters
        for pickled, instead in PICKLES.items():
            if (folder / pickled).exists() and not any((folder / name).is_file() for name in instead):
                raise InputError(
                    f"{folder}: holds its weights as a pickle ({pickled}), which can run code; only safetensors are "
                    f"read: continue from another checkpoint"
                )


def best_of(named: str | None, folders: list[Path]) -> str | None:
    """The best checkpoint as `trainer_state.json` names it, in the first of these folders that has one of that name.

    Only its name is believed: the folder of a run may have been moved, and a state may name any path.

    Raises:
        InputError: the name is none of a checkpoint.
    """
    if named is None:
        return None
    name = Path(named).name
    if not BEST.fullmatch(name):
        raise InputError(f"trainer_state.json names {named[:80]!r} as the best checkpoint; continue from another one")
    return str(next((folder / name for folder in folders if (folder / name).is_dir()), folders[0] / name))


@contextlib.contextmanager
def tensors_alone(deepspeed: bool = True):
    """Has DeepSpeed read its checkpoints with `weights_only=True`, its own three kinds of settings allowed.

    Nothing changes where a run is not DeepSpeed's.

    Raises:
        InputError: a file holds something else, which loading it would run.
    """
    if not deepspeed:
        yield
        return
    import torch
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    allowed = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]

    def load(engine, path, map_location=None):
        try:
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            what = f" ({found[1]})" if found else ""
            raise InputError(
                f"{path}: holds more than tensors and settings{what}, and could run code while it is read; continue "
                f"from a checkpoint of your own"
            ) from error

    original, TorchCheckpointEngine.load = TorchCheckpointEngine.load, load
    try:
        yield
    finally:
        TorchCheckpointEngine.load = original
