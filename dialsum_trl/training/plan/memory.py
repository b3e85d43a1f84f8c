"""What a micro-batch needs in GPU memory, and the fastest plan that fits a budget.

The model counts bytes: the stored base, the adapters with gradients and optimizer, one dequantization buffer, what the
fused layers keep for the backward pass (`fused.layer`), the working set of one layer, and one tile of the LM head.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Self

from transformers import PretrainedConfig

from dialsum_trl.models.families.family import Family, Sizes
from dialsum_trl.models.families.registry import family_of

GIB = 2**30
STORED = {"4bit": 0.516, "8bit": 1.0, "none": 2.0}  # bytes per base parameter; 4bit: nf4 with double quantization
# Measured on an H100: rates of matrix products and of streams, the host's time for a layer's launches, and the idle
# time at the ends of a micro-batch.
FLOPS, BYTES, HOST_SECONDS_PER_LAYER, GAP_SECONDS = 7.2e14, 2.6e12, 0.007, 0.015
SLACK = 0.92  # of the budget; the rest is for cuBLAS, fragments and evaluation
DENSE = 2.06  # bytes per parameter of a base that stays dequantized, the adapters' columns beside it counted in
ADAPTER_COLUMNS = 64  # beside the inputs of a dequantized group, for ranks up to 16
HEAD_TOKENS, HEAD_VOCABULARY = 4096, 32768  # of the largest tile of logits that the LM head makes, in half precision
SUPERVISED = 4  # the LM head works on one token in so many: those of summaries
BETTER = 0.99  # a plan with more micro-batches must take less than this share of the time


@dataclass(frozen=True)
class Shape(Sizes):
    """The sizes of a decoder and its adapter, which decide memory and time.

    Attributes:
        stored: bytes per base parameter, of `STORED`.
        rank: of the LoRA adapter.
        adapter_bytes: per adapter parameter: weight, gradient and two Adam moments in float32.
        outer_norms: whether what attention and MLP add is normalized, and kept for that.
    """

    stored: float
    rank: int
    adapter_bytes: int = 16
    outer_norms: bool = False

    @classmethod
    def of(cls, config: PretrainedConfig, rank: int, quantization: str) -> Self:
        """From a transformers config, of a multimodal model that of its text."""
        config = config.get_text_config()
        sizes = Sizes(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            query_heads=config.num_attention_heads,
            key_heads=config.num_key_value_heads,
            head_dim=config.to_dict().get("head_dim") or config.hidden_size // config.num_attention_heads,
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
            tied=config.tie_word_embeddings,
        )
        return cls.of_sizes(sizes, family_of(config.model_type), rank, quantization)

    @classmethod
    def of_sizes(cls, sizes: Sizes, family: Family | None, rank: int, quantization: str) -> Self:
        """From the sizes of a listed checkpoint of that family."""
        outer = any(layer.mlp_out_norm for layer in family.layers) if family else False
        return cls(**asdict(sizes), stored=STORED[quantization], rank=rank, outer_norms=outer)

    @property
    def heads(self) -> int:
        """Width of all query heads."""
        return self.query_heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all key heads."""
        return self.key_heads * self.head_dim

    @property
    def layer_parameters(self) -> int:
        """Weights of one decoder layer."""
        return self.hidden * (2 * self.heads + 2 * self.keys) + 3 * self.hidden * self.intermediate

    @property
    def adapter_parameters(self) -> int:
        """Trained weights of LoRA on all seven projections."""
        sides = 4 * self.hidden + 2 * self.heads + 2 * self.keys + 3 * (self.hidden + self.intermediate)
        return self.rank * sides * self.layers

    def fixed(self, resident: bool) -> float:
        """Bytes that do not depend on the micro-batch."""
        base = self.layers * self.layer_parameters * self.stored
        table = self.vocabulary * self.hidden * 2 * (1 if self.tied else 2)
        dense = self.layers * self.layer_parameters * DENSE if resident else 0
        widest = max(2 * self.intermediate, self.heads + 2 * self.keys)  # outputs of the largest group, gate and up
        buffer = 0 if resident else 2 * widest * (self.hidden + ADAPTER_COLUMNS)
        return base + table + dense + buffer + self.adapter_parameters * self.adapter_bytes

    def kept(self, keep: str) -> int:
        """Bytes per token that one layer keeps for its backward pass."""
        small = 10 * self.rank + 4 * self.query_heads + 8  # outputs of A, attention's normalizers, two norms' factors
        if keep == "layer":
            return 2 * self.hidden * (2 if self.outer_norms else 1) + 2 * self.rank
        numbers = (4 if self.outer_norms else 2) * self.hidden + 2 * self.heads + 2 * self.keys
        return 2 * (numbers + (2 * self.intermediate if keep == "all" else 0)) + small

    def working(self) -> int:
        """Bytes per token in use while one layer goes backward, and for the LM head's supervised part."""
        layer = 2 * self.hidden + self.heads * 2 + 2 * self.keys + 3 * self.intermediate
        return 2 * layer + 16 * self.hidden // SUPERVISED


def plain_tokens(shape: Shape, budget_gib: float) -> int:
    """Tokens that a checkpointed micro-batch of transformers' own layers may have.

    Coarse, so half of the memory stays free: autograd keeps about 12 numbers per token of the intermediate width and 10
    of the others in the layer that goes backward (norms, dropout's copies, LoRA's sums).
    """
    available = (budget_gib * SLACK * GIB - shape.fixed(resident=False)) / 2
    working = 2 * (12 * shape.intermediate + 10 * (shape.hidden + shape.heads + 2 * shape.keys))
    return int(available / (2 * shape.layers * shape.hidden + working))


@dataclass(frozen=True)
class Plan:
    """How one optimizer step goes through the GPU."""

    micro_batches: int  # of one process
    tokens: int  # of the largest micro-batch
    keep: tuple[str, ...]  # of each layer: "all", "mlp" or "layer"
    resident: bool
    gib: float  # estimated peak
    seconds: float  # estimated, per step
    budget: float

    def line(self) -> str:
        """One line for the user."""
        counts = {name: self.keep.count(name) for name in ("all", "mlp", "layer") if name in self.keep}
        names = {"all": "keep everything", "mlp": "redo gate/up", "layer": "redo the layer"}
        keep = ", ".join(f"{count} layers {names[name]}" for name, count in counts.items())
        return (
            f"Plan for {self.budget:.1f} GiB: {self.micro_batches} micro-batches a step, up to {self.tokens} tokens; "
            f"{keep}; base {'dequantized once' if self.resident else 'dequantized twice a micro-batch'}; "
            f"about {self.gib:.1f} GiB"
        )


def _seconds(shape: Shape, tokens: int, keep: dict[str, int], resident: bool) -> float:
    """Rough time of a micro-batch: products, streams over activations, dequantization; never faster than the host.

    Products cost 2 operations per parameter and token in each direction, and 2 more where they are recomputed;
    streams are bytes per token that a layer's elementwise kernels read and write.
    """
    products = 4 * shape.layers * shape.layer_parameters
    products += keep["mlp"] * 4 * shape.hidden * shape.intermediate
    products += keep["layer"] * 2 * (shape.layer_parameters - shape.hidden * shape.intermediate)
    streams = 32 * (shape.hidden + shape.heads) + 24 * shape.intermediate
    streams *= shape.layers + 0.3 * keep["layer"] + 0.1 * keep["mlp"]
    passes = 0 if resident else 2 * shape.layers + keep["layer"]
    dequantize = passes * shape.layer_parameters * (2 + shape.stored) / BYTES
    device = tokens * (products / FLOPS + streams / BYTES) + dequantize
    return max(device, HOST_SECONDS_PER_LAYER * shape.layers) + GAP_SECONDS


def _fill(shape: Shape, tokens: int, free: float) -> dict[str, int] | None:
    """As many layers as fit keep everything, then as many as fit keep all but gate/up; None when nothing fits."""
    free -= shape.layers * shape.kept("layer") * tokens
    if free < 0:
        return None
    keep = {"layer": shape.layers, "mlp": 0, "all": 0}
    for better, worse in (("mlp", "layer"), ("all", "mlp")):
        cost = (shape.kept(better) - shape.kept(worse)) * tokens
        moved = min(keep[worse], int(free // cost))
        keep[worse] -= moved
        keep[better] += moved
        free -= moved * cost
    return keep


def choices(rows: int) -> list[int]:
    """Micro-batches per step to consider where a process has that many rows in one."""
    return [count for count in range(1, rows + 1) if count <= 8 or count % 8 == 0]


def plan(
    shape: Shape, largest: Callable[[int], int], choices: list[int], budget_gib: float,
    resident: tuple[bool, ...] = (True, False),
) -> Plan | None:  # fmt: skip
    """The fastest plan within the budget, or None when even the smallest micro-batch does not fit.

    Args:
        largest: micro-batches per step -> tokens of the largest one (`schedule.Schedule.largest`).
        choices: micro-batches per step to consider, fewest first.
        resident: whether the base may be dequantized once, and whether for each micro-batch.
    """
    best = None
    for count in choices:
        tokens = largest(count)
        for once in resident:
            head = 2 * HEAD_VOCABULARY * min(HEAD_TOKENS, tokens)
            fixed = shape.fixed(once) + shape.working() * tokens + head
            keep = _fill(shape, tokens, budget_gib * GIB * SLACK - fixed)
            if keep is None:
                continue
            seconds = count * _seconds(shape, tokens, keep, once)
            if best is None or seconds < best.seconds * BETTER:
                kept = sum(keep[name] * shape.kept(name) for name in keep) * tokens
                # the backward pass starts with the last layers: their memory is free again when the first ones
                # recompute
                order = ("layer",) * keep["layer"] + ("mlp",) * keep["mlp"] + ("all",) * keep["all"]
                best = Plan(count, tokens, order, once, (fixed + kept) / GIB, seconds, budget_gib)
    return best
