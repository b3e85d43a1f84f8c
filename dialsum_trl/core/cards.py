"""Facts of GPUs, as data: what a compute capability can do, and the cards that people own.

In `core`, since every layer asks: kernels choose tiles by them, training the dtype, plans the memory, `doctor` all.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

Capability = tuple[int, int]
CONTEXT_GIB = 0.7  # of CUDA and cuBLAS in each process, which no allocator counts
DISPLAY_GIB = 0.5  # of a desktop, on cards with a monitor


class Device(NamedTuple):
    """What kernels must know of a GPU.

    Attributes:
        capability: of its compute units, such as (8, 6).
        processors: multiprocessors.
        shared: bytes of shared memory that a block may have.
    """

    capability: Capability
    processors: int
    shared: int

    @classmethod
    def of(cls, properties: Any) -> "Device":
        """From `torch.cuda.get_device_properties`."""
        capability = properties.major, properties.minor
        return cls(capability, properties.multi_processor_count, properties.shared_memory_per_block_optin)


def has_bfloat16(capability: Capability) -> bool:
    """Whether the matrix units compute in bfloat16; before Ampere torch emulates it."""
    return capability >= (8, 0)


def usable_dtype(dtype: str, capability: Capability | None) -> str:
    """`dtype`, or "float16" for bfloat16 on a GPU without it; `capability` is None without CUDA."""
    without = capability is not None and not has_bfloat16(capability)
    return "float16" if dtype == "bfloat16" and without else dtype


def document_attention(capability: Capability, dtype: str, head_dim: int) -> str:
    """How documents of a pack are attended to on a CUDA device: "flash", "efficient" or "documents".

    FlashAttention needs Ampere, half precision and heads of 256 at most; torch's memory-efficient kernel runs
    everywhere else, where 16 bytes divide a head; else each document goes through SDPA.
    """
    if capability >= (8, 0) and dtype != "float32" and head_dim <= 256:
        return "flash"
    return "efficient" if head_dim % (4 if dtype == "float32" else 8) == 0 else "documents"


def fuses(capability: Capability) -> bool:
    """Whether Triton compiles the fused layers for it: not before Turing."""
    return capability >= (7, 5)


class Choice(NamedTuple):
    """How a recipe runs on a card: dtype, attention in packs ("flash", "efficient"), layers ("fused", "plain")."""

    dtype: str
    attention: str
    layers: str


def choice(capability: Capability, dtype: str = "bfloat16", head_dim: int = 128) -> Choice:
    """What a model of `dtype` gets on a CUDA device of that capability."""
    usable = usable_dtype(dtype, capability)
    fused = fuses(capability) and usable != "float32"
    return Choice(usable, document_attention(capability, usable, head_dim), "fused" if fused else "plain")


@dataclass(frozen=True)
class Card:
    """A GPU that people own.

    Attributes:
        name: as it is part of the name that the driver reports.
        gib: memory that the driver reports.
        tflops: dense half-precision products with float32 sums, as the vendor states them.
        gbps: memory bandwidth, as the vendor states it.
        display: whether a monitor is usually connected.
    """

    name: str
    gib: float
    capability: Capability
    tflops: float
    gbps: float
    display: bool = False

    @property
    def free_gib(self) -> float:
        """What a training process can allocate, with its context and a display counted in."""
        return self.gib - CONTEXT_GIB - (DISPLAY_GIB if self.display else 0)


CARDS = (  # the first name that a device's name has as words counts
    Card("B200", 178.4, (10, 0), 2250, 8000),
    Card("H200", 139.8, (9, 0), 989, 4800),
    Card("H100", 79.2, (9, 0), 989, 3350),
    Card("A100-SXM4-80GB", 79.2, (8, 0), 312, 2039),
    Card("A100 80GB", 79.2, (8, 0), 312, 1935),
    Card("A100", 39.4, (8, 0), 312, 1555),
    Card("L40S", 44.4, (8, 9), 362, 864),
    Card("L40", 44.4, (8, 9), 181, 864),
    Card("RTX 5090", 31.4, (12, 0), 210, 1792, display=True),
    Card("RTX 4090", 23.6, (8, 9), 165, 1008, display=True),
    Card("RTX 4060", 7.6, (8, 9), 60, 272, display=True),
    Card("RTX 3090", 23.6, (8, 6), 71, 936, display=True),
    Card("RTX 3060", 11.6, (8, 6), 25, 360, display=True),
    Card("A6000", 47.4, (8, 6), 155, 768),
    Card("A40", 44.4, (8, 6), 150, 696),
    Card("A10", 22.0, (8, 6), 125, 600),
    Card("L4", 22.0, (8, 9), 121, 300),
    Card("V100", 15.8, (7, 0), 125, 900),
    Card("T4", 14.6, (7, 5), 65, 320),
)


def card_of(device_name: str) -> Card | None:
    """The card whose name is in a device's name ("A10G" is an A10, "RTX A1000" no A100); None for one not listed."""
    return next((card for card in CARDS if re.search(rf"(?<![A-Z0-9]){card.name}(?![0-9])", device_name)), None)
