"""One decoder layer on a pack, forward and backward by hand, with as much kept for the backward pass as memory allows.

Only what LoRA trains gets a gradient: per projection one product forward, one backward, and low-rank ones. What the
backward pass needs besides weights, in numbers per token (H hidden, Q and KV attention widths, F intermediate):

    keep = "all"    input H, q/k/v Q + 2 KV, attention Q, middle H, gate and up 2 F
    keep = "mlp"    the same without gate and up, recomputed by one product
    keep = "layer"  the input H; everything but the down projection is recomputed

The recomputed values are the same bits: same kernels, same dropout keys.
"""

from types import ModuleType

import torch
from torch.nn.functional import linear

from dialsum_trl.kernels.attention import attend, attend_backward
from dialsum_trl.kernels.fused import torch_ops
from dialsum_trl.kernels.fused.weights import Group
from dialsum_trl.models.families.registry import FUSED

KEEP = ("all", "mlp", "layer")


def operations(tensor: torch.Tensor) -> ModuleType:
    """The module of kernels for this tensor: Triton on a GPU, PyTorch elsewhere."""
    if not tensor.is_cuda or tensor.dtype == torch.float32:
        return torch_ops
    from dialsum_trl.kernels.fused import triton_ops  # Triton is not everywhere

    return triton_ops


class FusedLayer:
    """A transformers decoder layer seen as four groups of projections, two norms, rope and attention.

    Args:
        module: decoder layer of a family that has a `Layer`; its seven projections are PEFT LoRA layers.
        adapter: name of the adapter that trains.
        pool: dict shared by all layers of the model.
    """

    def __init__(self, module, adapter: str, pool: dict):
        attention, mlp, built = module.self_attn, module.mlp, FUSED[type(module).__name__]
        self.module, self.original, self.keep = module, module.forward, "all"
        self.qkv = Group([attention.q_proj, attention.k_proj, attention.v_proj], adapter, pool)
        self.out = Group([attention.o_proj], adapter, pool)
        self.gate_up = Group([mlp.gate_proj, mlp.up_proj], adapter, pool)
        self.down = Group([mlp.down_proj], adapter, pool)
        self.groups = (self.qkv, self.out, self.gate_up, self.down)
        norms = (getattr(module, name) for name in (built.attention_norm, built.mlp_norm))
        self.norms = [(norm.weight, norm.variance_epsilon) for norm in norms]
        self.dim, self.scale = attention.head_dim, attention.scaling
        self.heads = (self.qkv.rows[0] // self.dim, self.qkv.rows[1] // self.dim)
        self.head_norm = built.qk_norm

    def parameters(self) -> list[torch.nn.Parameter]:
        """A and B of the seven projections, in the order of the gradients."""
        return [parameter for group in self.groups for parameter in group.parameters()]

    def qk_norm(self) -> torch_ops.HeadNorms | None:
        """Weights and eps of the norms of queries and keys, where the family has them."""
        if not self.head_norm:
            return None
        attention = self.module.self_attn
        return attention.q_norm.weight, attention.k_norm.weight, attention.q_norm.variance_epsilon


class _Pass:
    """One forward or backward walk through a layer: its kernels, dropout and document edges."""

    def __init__(self, layer: FusedLayer, hidden, cos, sin, bounds, longest, training: bool, seed: int):
        self.layer, self.ops = layer, operations(hidden)
        self.dtype, self.device = hidden.dtype, hidden.device
        self.cos, self.sin, self.bounds, self.longest = cos, sin, bounds, longest
        self.training, self.seed = training, seed

    def lora(self, group: Group):
        """(A, padded rank, scale, dropout, mask keys) of a group, as the kernels take them."""
        number = self.layer.groups.index(group)
        keys = tuple((self.seed + 0x632BE5AB * (2 * number + i + 1)) & 0x7FFFFFFF for i in range(2))
        return group.a(), group.rank, group.scale, group.dropout if self.training else 0.0, keys

    def weight(self, group: Group):
        return group.weight(self.ops, self.dtype, self.device)

    def normed(self, group: Group, hidden, norm):
        """Norm, A and product of the projections after a norm: output (T, sum N), A's output (T, n R), rstd (T,)."""
        wide, rstd = self.ops.rms_norm(hidden, norm[0], norm[1], group.extra)
        low = self.ops.lora_down(wide, *self.lora(group))
        return linear(wide, self.weight(group), group.bias), low, rstd

    def heads(self, qkv, rotated):
        nq, nk = self.layer.heads
        dim = self.layer.dim
        query = rotated[:, : nq * dim].unflatten(1, (nq, dim))
        key = rotated[:, nq * dim :].unflatten(1, (nk, dim))
        return query, key, qkv[:, (nq + nk) * dim :].unflatten(1, (nk, dim))

    def attention(self, hidden):
        """The first half of the layer: middle stream (T, H) and what its backward pass needs."""
        layer, ops = self.layer, self.ops
        qkv, low, rstd = self.normed(layer.qkv, hidden, layer.norms[0])
        rotated = ops.rope(qkv, self.cos, self.sin, layer.heads, layer.dim, layer.qk_norm())
        out, flash = attend(*self.heads(qkv, rotated), self.bounds, self.longest, layer.scale)
        wide = ops.widen(out.flatten(1), layer.out.extra)
        low_out = ops.lora_down(wide, *self.lora(layer.out))
        middle = torch.addmm(hidden, wide, self.weight(layer.out).t())
        return middle, (rstd, low, qkv, out, low_out, *flash)

    def gate_up(self, middle):
        """Gate and up (T, 2 F) and what their backward pass needs."""
        gate_up, low, rstd = self.normed(self.layer.gate_up, middle, self.layer.norms[1])
        return gate_up, (rstd, low)

    def down(self, middle, gate_up):
        """The layer's output and A's output in its last projection."""
        group = self.layer.down
        wide = self.ops.swiglu(gate_up, group.extra)
        low = self.ops.lora_down(wide, *self.lora(group))
        return torch.addmm(middle, wide, self.weight(group).t()), low

    def mlp_backward(self, grad, middle, gate_up, saved, low_down):
        """Gradients of the middle stream, of gate/up's adapters and of down's; gate_up is overwritten."""
        layer, ops = self.layer, self.ops
        rstd, low = saved
        wide = torch.mm(grad, self.weight(layer.down))
        grad_b = torch.mm(grad.t(), low_down)
        down = layer.down.gradients(ops.swiglu_backward(wide, gate_up, *self.lora(layer.down)), grad_b)
        del wide
        wide = torch.mm(gate_up, self.weight(layer.gate_up))
        grad_b = torch.mm(gate_up.t(), low)
        norm = layer.norms[1][0]
        grad_a = ops.lora_backward(wide, middle, (rstd, norm), *self.lora(layer.gate_up))
        middle_grad = ops.rms_norm_backward(wide[:, : grad.shape[1]], middle, norm, rstd, grad)
        return middle_grad, layer.gate_up.gradients(grad_a, grad_b), down

    def attention_backward(self, grad, hidden, saved, need_hidden: bool):
        """Gradients of the layer's input (or None), of q/k/v's adapters and of o's."""
        layer, ops = self.layer, self.ops
        rstd, low, qkv, out, low_out, *flash = saved
        wide = torch.mm(grad, self.weight(layer.out))
        grad_b = torch.mm(grad.t(), low_out)
        out_grad = torch.empty_like(out)
        grad_a = ops.lora_backward(wide, out.flatten(1), None, *self.lora(layer.out), out=out_grad.flatten(1))
        out_grads = layer.out.gradients(grad_a, grad_b)
        del wide
        rotated = qkv[:, : sum(layer.heads) * layer.dim]
        if layer.head_norm:
            rotated = ops.rope(qkv, self.cos, self.sin, layer.heads, layer.dim, layer.qk_norm())
        heads = attend_backward(out_grad, *self.heads(qkv, rotated), out, flash, self.bounds, self.longest, layer.scale)
        qkv_grad = ops.rope_backward(*heads, self.cos, self.sin, qkv, layer.qk_norm())
        del heads, out_grad, rotated
        weight, norm, inputs = self.weight(layer.qkv), layer.norms[0][0], layer.qkv.inputs
        wide = torch.mm(qkv_grad, weight if need_hidden else weight[:, inputs:])
        grad_b = torch.mm(qkv_grad.t(), low)
        grad_a = ops.lora_backward(wide, hidden, (rstd, norm), *self.lora(layer.qkv), low_only=not need_hidden)
        qkv_grads = layer.qkv.gradients(grad_a, grad_b)
        if not need_hidden:
            return None, qkv_grads, out_grads
        return ops.rms_norm_backward(wide[:, :inputs], hidden, norm, rstd, grad), qkv_grads, out_grads


class LayerFunction(torch.autograd.Function):
    """`FusedLayer` as a differentiable function of the hidden states (T, H) and of its adapters' weights."""

    @staticmethod
    def forward(ctx, hidden, cos, sin, bounds, longest, layer, training, seed, *parameters):
        ctx.walk = walk = _Pass(layer, hidden, cos, sin, bounds, longest, training, seed)
        ctx.keep = layer.keep
        with torch.autocast(hidden.device.type, enabled=False):
            middle, attention = walk.attention(hidden)
            gate_up, mlp = walk.gate_up(middle)
            output, low_down = walk.down(middle, gate_up)
        kept = [hidden, low_down]
        if ctx.keep != "layer":
            kept += [middle, *attention]
        if ctx.keep == "all":
            kept += [gate_up, *mlp]
        ctx.attention = len(attention)
        ctx.save_for_backward(*kept)
        return output

    @staticmethod
    def backward(ctx, grad):
        walk = ctx.walk
        hidden, low_down, *kept = ctx.saved_tensors
        grad = grad.contiguous()
        with torch.autocast(grad.device.type, enabled=False):
            if ctx.keep == "layer":
                middle, attention = walk.attention(hidden)
            else:
                middle, *attention = kept[: 1 + ctx.attention]
            if ctx.keep == "all":
                gate_up, *mlp = kept[1 + ctx.attention :]
            else:
                gate_up, mlp = walk.gate_up(middle)
            grad, gate_up_grads, down_grads = walk.mlp_backward(grad, middle, gate_up, mlp, low_down)
            del middle, gate_up
            grad, qkv_grads, out_grads = walk.attention_backward(grad, hidden, attention, ctx.needs_input_grad[0])
        return grad, *(None,) * 7, *qkv_grads, *out_grads, *gate_up_grads, *down_grads
