"""The launcher's configuration: how many processes there are, and what is split between them.

`accelerate launch --config_file accelerate_configs/X.yaml` passes its settings in environment variables. They are
read here; `core/settings/topology.py` says what each configuration can run.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Topology:
    """How this run is spread: `kind` is "single", "ddp", "zero1", "zero2", "zero3" or "fsdp"."""

    kind: str
    processes: int

    @property
    def shards_weights(self) -> bool:
        """Whether no process holds the whole base model while it trains."""
        return self.kind in ("zero3", "fsdp")

    @property
    def owns_precision(self) -> bool:
        """Whether the launcher's engine keeps the float32 masters of what is trained (DeepSpeed)."""
        return self.kind.startswith("zero")


def _set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true", "yes")


def launched_on_cpu() -> bool:
    """Whether the launcher's configuration has no GPU, as `accelerate_configs/cpu.yaml`."""
    return _set("ACCELERATE_USE_CPU")


def current() -> Topology:
    """The topology that the launcher's environment variables describe."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if _set("ACCELERATE_USE_DEEPSPEED"):
        return Topology(f"zero{os.environ.get('ACCELERATE_DEEPSPEED_ZERO_STAGE', '2')}", processes)
    if _set("ACCELERATE_USE_FSDP"):
        return Topology("fsdp", processes)
    return Topology("ddp" if processes > 1 else "single", processes)


def prepare_allocator() -> None:
    """Lets PyTorch grow its segments, so that packs of many lengths share them. Call before torch is imported."""
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
