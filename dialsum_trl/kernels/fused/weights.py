"""The frozen base of a decoder layer, ready for plain matrix products that carry the adapters along.

Projections that read one input (q/k/v, gate/up, o, down) form a group. Its wide weight is

    W = [ base 1 | B1  0  0 .. ]
        [ base 2 | 0  B2  0 .. ]      (sum of N, K + E)

and its wide input is [x | A1 x, A2 x, ..]: one product gives base + LoRA of every projection without touching the large
outputs twice, and its transpose gives both gradients. 4-bit bases are dequantized into W, either into one buffer that
all groups share (forward and backward of every micro-batch) or once, `resident`, when memory allows.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
from bitsandbytes.nn import Params4bit
from peft.tuners.lora import LoraLayer

from dialsum_trl.kernels.tiles import LARGEST_RANK, power_of_two


def padded_rank(rank: int) -> int:
    """The rank that the kernels compute with: matrix units want 16 and powers of two."""
    return max(16, power_of_two(rank))


class Group:
    """The projections of one input.

    Args:
        modules: PEFT LoRA layers in the order of their outputs.
        adapter: name of the adapter.
        pool: dict that holds the buffer shared by all groups.
    """

    def __init__(self, modules: Sequence[LoraLayer], adapter: str, pool: dict[str, torch.Tensor]):
        self.modules, self.adapter, self.pool = modules, adapter, pool
        self.layers = [module.get_base_layer() for module in modules]
        self.states = [w.quant_state if isinstance(w, Params4bit) else None for w in (x.weight for x in self.layers)]
        self.rows = [layer.out_features for layer in self.layers]
        self.inputs = self.layers[0].in_features
        self.scale = modules[0].scaling[adapter]
        self.rank = padded_rank(max(module.r[adapter] for module in modules))
        dropout = modules[0].lora_dropout[adapter]
        self.dropout = dropout.p if isinstance(dropout, torch.nn.Dropout) else 0.0
        self.bias = None
        if self.layers[0].bias is not None:
            self.bias = torch.cat([layer.bias.detach() for layer in self.layers])
        self.extra = max(64, power_of_two(len(modules) * self.rank))
        self.resident = None

    def a(self) -> list[torch.Tensor]:
        """The A of each projection, (r, K), without gradients."""
        return [module.lora_A[self.adapter].weight.detach() for module in self.modules]

    def parameters(self) -> list[torch.nn.Parameter]:
        """A and B of each projection, in the order of `gradients`."""
        names = [(module.lora_A, module.lora_B) for module in self.modules]
        return [side[self.adapter].weight for pair in names for side in pair]

    def gradients(self, grad_a: torch.Tensor, grad_b: torch.Tensor) -> list[torch.Tensor]:
        """Splits the gradients of all A (n R, K) and of the B columns (sum N, n R) into those of `parameters`."""
        out, start = [], 0
        for j, module in enumerate(self.modules):
            low = slice(j * self.rank, j * self.rank + module.r[self.adapter])
            dtype = module.lora_A[self.adapter].weight.dtype
            out += [grad_a[low].to(dtype), grad_b[start : start + self.rows[j], low].to(dtype)]
            start += self.rows[j]
        return out

    def weight(self, ops: ModuleType, dtype: torch.dtype, device: torch.device, backward: bool) -> torch.Tensor:
        """W with the adapters as they are, (sum N, K + E); valid until the next group's call unless resident.

        backward: a forward pass came before, since which no adapter has changed.
        """
        if self.resident is not None:
            if not backward:  # one call: Triton's launches cost the host more
                torch._foreach_copy_(
                    self.slots, [module.lora_B[self.adapter].weight.detach() for module in self.modules]
                )
            return self.resident
        shape = (sum(self.rows), self.inputs + self.extra)
        size = shape[0] * shape[1]
        buffer = self.pool.get("buffer")
        if buffer is None or buffer.numel() < size:
            buffer = self.pool["buffer"] = torch.empty(size, dtype=dtype, device=device)
        out = buffer[:size].view(shape)
        self._fill(ops, out)
        return out

    def make_resident(self, ops: ModuleType, dtype: torch.dtype, device: torch.device) -> None:
        """Dequantizes once and for all; 2 bytes per base parameter."""
        self.resident = torch.empty(sum(self.rows), self.inputs + self.extra, dtype=dtype, device=device)
        self._fill(ops, self.resident)
        self.slots, row = [], 0
        for j, module in enumerate(self.modules):
            first = self.inputs + j * self.rank
            self.slots.append(self.resident[row : row + self.rows[j], first : first + module.r[self.adapter]])
            row += self.rows[j]

    def _fill(self, ops, out) -> None:
        row = 0
        for j, module in enumerate(self.modules):
            b = module.lora_B[self.adapter].weight.detach()
            ops.load_weight(out, row, self.inputs, self.layers[j].weight.detach(), self.states[j], b, j, self.rank)
            row += self.rows[j]


def group_problem(modules: Sequence[torch.nn.Module], adapter: str) -> str | None:
    """Why these projections cannot run as a group, or None."""
    for module in modules:
        if not isinstance(module, LoraLayer) or adapter not in module.lora_A:
            return "not every projection has a LoRA adapter"
        if module.lora_variant.get(adapter) is not None or module.lora_bias[adapter] or module.merged:
            return "DoRA, LoRA bias or a merged adapter"
        layer = module.get_base_layer()
        kind = type(layer).__name__
        if kind not in ("Linear", "Linear4bit"):
            return f"{kind} projections"
        if kind == "Linear4bit" and layer.weight.device.type == "cpu" and layer.support_avx512bf16_for_cpu:
            return "4-bit weights on a CPU whose bitsandbytes repacks them"
    first = modules[0]
    if any(module.r[adapter] > LARGEST_RANK for module in modules):
        return f"a LoRA rank above {LARGEST_RANK}"
    same = {(m.scaling[adapter], str(m.lora_dropout[adapter])) for m in modules}
    if len(same) > 1 or any(m.r[adapter] != first.r[adapter] for m in modules):
        return "projections of one input with different LoRA settings"
    return None
