"""A checkpoint of another user may hold tensors and settings, but no code.

`files.json` says that a checkpoint is whole, not who made it. transformers reads its own torch files with
`weights_only=True`; DeepSpeed does not.
"""

import contextlib
from pathlib import Path

import torch

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.file_names import PICKLE, WEIGHTS
from dialsum_trl.models.files import shards_of

PICKLES = {  # what transformers reads if there are no safetensors; pytorch_model_fsdp.bin is FSDP's own
    PICKLE: (WEIGHTS,),
    "pytorch_model.bin": ("model.safetensors",),
    "pytorch_model.bin.index.json": ("model.safetensors", "model.safetensors.index.json"),
}


def check_weights(checkpoint: Path) -> None:
    """Raises InputError where weights are a pickle only, or their index names files elsewhere."""
    for index in checkpoint.glob("*.index.json"):
        shards_of(index, "continue from another checkpoint")
    for folder in (checkpoint, *(path for path in checkpoint.iterdir() if path.is_dir())):  # peft's named adapters
        for pickled, instead in PICKLES.items():
            if (folder / pickled).exists() and not any((folder / name).is_file() for name in instead):
                raise InputError(
                    f"{folder}: holds its weights as a pickle ({pickled}), which can run code; only safetensors are "
                    f"read: continue from another checkpoint"
                )


@contextlib.contextmanager
def tensors_alone(deepspeed: bool = True):
    """Has DeepSpeed read its checkpoints with `weights_only=True`, its own three kinds of settings allowed.

    Nothing changes where a run is not DeepSpeed's.

    Raises:
        pickle.UnpicklingError: a file holds something else, which loading it would run.
    """
    if not deepspeed:
        yield
        return
    # optional: only a run of DeepSpeed's needs it
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    allowed = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]

    def load(engine, path, map_location=None):
        return torch.load(path, map_location=map_location, weights_only=True)

    original, TorchCheckpointEngine.load = TorchCheckpointEngine.load, load
    try:
        with torch.serialization.safe_globals(allowed):
            yield
    finally:
        TorchCheckpointEngine.load = original
