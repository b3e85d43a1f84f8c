"""Memory and traffic of several processes by configuration: the arithmetic of docs/scaling.md.

Compute time and activations come from `memory.plan`, which was fitted to measured single-GPU steps. This file adds how
weights and states are split, and the traffic of each step over the slowest link.
"""

from dataclasses import dataclass

from dialsum_trl.training.plan.memory import GIB, Shape

# bus bandwidth, bytes per second and direction, of the slowest link of a ring. NVLink: what NCCL's all-reduce of 1 GiB
# is reported to reach on H100s of one host; the others are what the link is sold as, less a tenth. None measured here.
LINKS = {
    "NVLink (H100)": 329e9,
    "PCIe 4 x16": 28e9,
    "400 Gbit/s": 45e9,
    "100 Gbit/s": 11.2e9,
    "25 Gbit/s": 2.8e9,
    "10 Gbit/s": 1.1e9,
}
SPLIT_BY = {"ddp": (), "zero2": ("states",), "zero3": ("states", "weights"), "fsdp": ("states", "weights")}
# bytes per trained parameter: what every process keeps, what may be split (masters, gradients, moments)
TRAINED_BYTES = {"ddp": (16, 0), "zero2": (2, 14), "zero3": (0, 16), "fsdp": (0, 16)}


@dataclass(frozen=True)
class Load:
    """What one process holds before activations, GiB, and what it sends in a step, bytes."""

    resident_gib: float
    gradient_bytes: float
    weight_bytes: float

    def seconds(self, bandwidth: float) -> float:
        """Time on the wire, not overlapped with anything: an upper bound."""
        return (self.gradient_bytes + self.weight_bytes) / bandwidth


def load(shape: Shape, kind: str, processes: int, micro_batches: int = 1) -> Load:
    """Weights, states and traffic of one process.

    Args:
        kind: "ddp", "zero2", "zero3" or "fsdp".
        micro_batches: of one process in an optimizer step; split weights travel in each.
    """
    layer = shape.layer_parameters * shape.stored
    table = shape.vocabulary * shape.hidden * 2 * (1 if shape.tied else 2)
    weights = shape.layers * layer + table
    whole, split = TRAINED_BYTES[kind]
    states = shape.adapter_parameters * (whole + split / processes)
    passed = (processes - 1) / processes
    if "weights" not in SPLIT_BY[kind]:
        # an all-reduce is a reduce-scatter and an all-gather
        gradients = 2 * passed * shape.adapter_parameters * (4 if kind == "ddp" else 2)
        return Load((weights + states) / GIB, gradients, 0.0)
    # two layers are whole at a time (one in use, the next on its way), and the table while it is used
    resident = weights / processes + 2 * layer + table + states
    gathered = 2 * passed * weights * micro_batches
    return Load(resident / GIB, passed * shape.adapter_parameters * 4, gathered)


def efficiency(one_gpu_seconds: float, step_seconds: float, processes: int) -> float:
    """Speed-up over one process, divided by the number of processes."""
    return one_gpu_seconds / (step_seconds * processes)
