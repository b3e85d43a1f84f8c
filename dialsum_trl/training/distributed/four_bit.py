"""4-bit weights stay exact under FSDP2.

FSDP splits only floating-point tensors, so bitsandbytes can store its packed nibbles in a tensor of dtype bf16. On
GPUs FSDP2 copies half precision as numbers: all bit patterns that read as NaN become the same one, and a layer
computes with other weights (https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1945). Loss and norm look
normal: see "FSDP2 and 4-bit weights" in docs/scaling.md. float32 is copied bit for bit. So the nibbles are stored in
float32, and FSDP casts no parameter: autocast computes in half precision, as it does without FSDP.
`core.settings.topology.fit_topology` sets the storage; here is the rest, and a check that the gathered weights are the
stored ones.
"""

import torch
from bitsandbytes.nn import Linear4bit
from torch.distributed.fsdp import FSDPModule

from dialsum_trl.core.errors import TrainingError


def fingerprints(model) -> dict[str, int]:
    """Layer name -> a sum over the bits of its packed weight, of every 4-bit layer; weights must be whole."""
    return {name: _bits(module.weight) for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def _bits(weight) -> int:
    raw = weight.detach().as_subclass(torch.Tensor).contiguous().view(torch.uint8).flatten()
    words = raw.view(torch.int32) if raw.numel() % 4 == 0 else raw
    return words.sum(dtype=torch.int64).item()


def check_gathered(model, stored: dict[str, int]) -> None:
    """Gathers each unit of a split model as its forward pass does and compares its 4-bit weights.

    Args:
        model: after `fully_shard`.
        stored: `fingerprints` from before.

    Raises:
        TrainingError: a weight is not what it was; all processes raise it.
    """
    for prefix, unit in model.named_modules():
        if not isinstance(unit, FSDPModule) or unit is model:
            continue
        unit.unshard()
        found = {f"{prefix}.{name}": bits for name, bits in fingerprints(unit).items()}
        unit.reshard()
        if wrong := [name for name, bits in found.items() if bits != stored[name]]:
            raise TrainingError(
                f"FSDP changed the 4-bit weights of {wrong[0]} when it sent them between processes: training would be "
                f"wrong. Use accelerate_configs/ddp.yaml or deepspeed_zero3.yaml, and please report it"
            )


class Shards:
    """4-bit weights that FSDP2 splits are gathered bit for bit. It changes nothing elsewhere.

    Args:
        trainer: before it has prepared its model.
    """

    def __init__(self, trainer):
        self.stored = fingerprints(trainer.model) if trainer.is_fsdp_enabled else {}
        self.autocasts = bool(self.stored)
        if self.autocasts:  # no cast: the packed weights stay as they are
            trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = None

    def check(self, model) -> None:
        """Compares what is gathered with what was stored, once. Raises TrainingError where it differs."""
        if self.stored:
            check_gathered(model, self.stored)
            self.stored = {}
