"""One decoder layer on a pack, forward and backward by hand, with as much kept for the backward pass as memory allows.

Only what LoRA trains gets a gradient: per projection one product forward, one backward, and low-rank ones. What the
backward pass needs besides weights, in numbers per token (H hidden, Q and KV attention widths, F intermediate):

    keep = "all"    input H, q/k/v Q + 2 KV, attention Q, middle H, gate and up 2 F
    keep = "mlp"    the same without gate and up, recomputed by one product
    keep = "layer"  the input H; everything but the down projection is recomputed

and H more, always, for a norm of what the MLP adds; H more, unless "layer", for a norm of what attention adds.

The recomputed values are the same bits: same kernels, same dropout keys.
"""

from types import ModuleType

import torch
from torch.nn.functional import linear

from dialsum_trl.kernels.attention import Keys, attend, attend_backward
from dialsum_trl.kernels.fused import torch_ops
from dialsum_trl.kernels.fused.weights import Group
from dialsum_trl.models.families.registry import FUSED

KEEP = ("all", "mlp", "layer")
ACTIVATIONS = ("silu", "gelu_pytorch_tanh")
Norm = tuple[torch.Tensor, float]  # weight (H,) and eps
Documents = tuple[torch.Tensor, int, Keys | None]  # edges of a pack's documents, tokens of the longest, their keys


def operations(dtype: torch.dtype, device: torch.device) -> ModuleType:
    """The module of kernels for tensors of this kind: Triton on a GPU, PyTorch elsewhere."""
    if device.type != "cuda" or dtype == torch.float32:
        return torch_ops
    from dialsum_trl.kernels.fused import triton_ops  # Triton is not everywhere

    return triton_ops


def activation(config) -> str:
    """The activation of the MLP's gate."""
    names = config.to_dict()
    return names.get("hidden_activation") or names["hidden_act"]


def window_of(config, number: int) -> int | None:
    """How many tokens, itself included, a token of this layer may look at; None for all before it."""
    sizes = config.to_dict()
    kinds = sizes.get("layer_types")
    sliding = kinds is None or kinds[number] == "sliding_attention"
    return sizes.get("sliding_window") if sliding else None


class FusedLayer:
    """A transformers decoder layer seen as four groups of projections, norms, rope and attention.

    Args:
        module: decoder layer whose family describes it (`Layer`); its projections are PEFT LoRA layers.
        adapter: name of the adapter that trains.
        pool: dict shared by all layers of the model.
        config: of the model.
        number: of the layer, from 0.
    """

    def __init__(self, module, adapter: str, pool: dict, config, number: int):
        attention, mlp, built = module.self_attn, module.mlp, FUSED[type(module).__name__]
        self.module, self.original, self.keep = module, module.forward, "all"
        self.qkv = Group([getattr(attention, name) for name in built.qkv], adapter, pool)
        self.out = Group([attention.o_proj], adapter, pool)
        self.gate_up = Group([getattr(mlp, name) for name in built.gate_up], adapter, pool)
        self.down = Group([mlp.down_proj], adapter, pool)
        self.groups = (self.qkv, self.out, self.gate_up, self.down)

        def norm(owner, name: str | None) -> Norm | None:
            if name is None:
                return None
            weight = getattr(owner, name).weight
            return 1 + weight.detach().float() if built.one_plus_norms else weight, config.rms_norm_eps

        def out_norm(name: str | None) -> Norm | None:
            if isinstance(getattr(module, name or "", None), torch.nn.Identity):
                return None
            found = norm(module, name)
            return found and (found[0] if self.branch == 1 else found[0].detach().float() * self.branch, found[1])

        self.branch = config.to_dict().get("residual_multiplier", 1)  # factor of what attention and MLP add
        self.attention_norm, self.attention_out_norm = (
            norm(module, built.attention_norm),
            out_norm(built.attention_out_norm),
        )
        self.mlp_norm, self.mlp_out_norm = norm(module, built.mlp_norm), out_norm(built.mlp_out_norm)
        some = getattr(module, built.mlp_norm or built.mlp_out_norm).weight
        self.hidden, self.dtype, self.device = some.shape[0], some.dtype, some.device
        self.qk_norm: torch_ops.HeadNorms | None = None
        if built.qk_norm:
            (query, eps), (key, _) = norm(attention, "q_norm"), norm(attention, "k_norm")
            self.qk_norm = query, key, eps
        self.dim, self.scale, self.window = attention.head_dim, attention.scaling, window_of(config, number)
        self.heads = (config.num_attention_heads, config.num_key_value_heads)
        self.gelu = activation(config) == "gelu_pytorch_tanh"
        rope = config.rope_parameters
        rope = rope.get("sliding_attention" if self.window else "full_attention", rope)
        self.rotary = int(self.dim * rope.get("partial_rotary_factor", 1.0))
        if not built.rotates_without_window and config.sliding_window and not self.window:
            self.rotary = 0
        # from there on queries are scaled by their position, which only transformers' layer does
        self.longest = rope["original_max_position_embeddings"] if rope.get(built.query_scaling) else None

    def parameters(self) -> list[torch.nn.Parameter]:
        """A and B of all projections, in the order of the gradients."""
        return [parameter for group in self.groups for parameter in group.parameters()]


class _Pass:
    """One forward or backward walk through a layer: its kernels, dropout and document edges."""

    def __init__(self, layer: FusedLayer, hidden, cos, sin, documents: Documents, training: bool, seed: int):
        self.layer, self.ops = layer, operations(hidden.dtype, hidden.device)
        self.dtype, self.device = hidden.dtype, hidden.device
        self.cos, self.sin = cos, sin
        self.attended = *documents[:2], layer.scale, layer.window, documents[2]
        self.training, self.seed = training, seed

    def lora(self, group: Group):
        """(A, padded rank, scale, dropout, mask keys) of a group, as the kernels take them."""
        number = self.layer.groups.index(group)
        keys = tuple((self.seed + 0x632BE5AB * (2 * number + i + 1)) & 0x7FFFFFFF for i in range(2))
        return group.a(), group.rank, group.scale, group.dropout if self.training else 0.0, keys

    def weight(self, group: Group, backward: bool = False):
        return group.weight(self.ops, self.dtype, self.device, backward)

    def enter(self, group: Group, hidden, norm: Norm | None):
        """The projections after an optional norm: output (T, sum N), A's output (T, n R), rstd (T,) or None."""
        if norm is None:
            (wide, low), rstd = self.widened(group, hidden), None
        else:
            wide, rstd = self.ops.rms_norm(hidden, *norm, group.extra)
            low = self.ops.lora_down(wide, *self.lora(group))
        return linear(wide, self.weight(group), group.bias), low, rstd

    def widened(self, group: Group, x):
        """x (T, K) beside what A makes of it, (T, K + E), and the latter alone, (T, n R)."""
        wide = x.new_empty(x.shape[0], x.shape[1] + group.extra)
        return wide, self.ops.lora_down(wide, *self.lora(group), source=x)

    def enter_backward(self, group: Group, grad_wide, hidden, norm: Norm | None, rstd, residual):
        """The gradient of `enter`'s input, with the residual's, from that of its wide input; gradients of A."""
        lora = self.lora(group)
        if norm is None:
            out = torch.empty_like(hidden)
            return out, self.ops.lora_backward(grad_wide, hidden, None, *lora, out=out, residual=residual)
        grad_a = self.ops.lora_backward(grad_wide, hidden, (rstd, norm[0]), *lora)
        return self.ops.rms_norm_backward(grad_wide[:, : group.inputs], hidden, norm[0], rstd, residual), grad_a

    def leave(self, group: Group, wide, stream, norm: Norm | None):
        """The stream plus the projection of `wide`, normalized or not; branch (T, H) and rstd of a norm, or None."""
        weight = self.weight(group).t()
        if norm is None:
            return torch.addmm(stream, wide, weight, alpha=self.layer.branch), None, None
        branch = torch.mm(wide, weight)
        out, rstd = self.ops.rms_norm(branch, *norm, residual=stream)
        return out, branch, rstd

    def leave_backward(self, grad, branch, norm: Norm | None, rstd):
        """The gradient of the projection's output from that of the stream."""
        if norm is None:
            return grad if self.layer.branch == 1 else grad * self.layer.branch
        return self.ops.rms_norm_backward(grad, branch, norm[0], rstd)

    def heads(self, qkv, rotated):
        nq, nk = self.layer.heads
        dim = self.layer.dim
        query = rotated[:, : nq * dim].unflatten(1, (nq, dim))
        key = rotated[:, nq * dim :].unflatten(1, (nk, dim))
        return query, key, qkv[:, (nq + nk) * dim :].unflatten(1, (nk, dim))

    def attention(self, hidden):
        """The first half of the layer: middle stream (T, H) and what its backward pass needs."""
        layer, ops = self.layer, self.ops
        qkv, low, rstd = self.enter(layer.qkv, hidden, layer.attention_norm)
        rotated = ops.rope(qkv, self.cos, self.sin, layer.heads, layer.dim, layer.qk_norm)
        out, flash = attend(*self.heads(qkv, rotated), *self.attended)
        wide, low_out = self.widened(layer.out, out.flatten(1))
        middle, *branch = self.leave(layer.out, wide, hidden, layer.attention_out_norm)
        return middle, (rstd, low, qkv, out, low_out, *branch, *flash)

    def gate_up(self, middle):
        """Gate and up (T, 2 F) and what their backward pass needs."""
        gate_up, low, rstd = self.enter(self.layer.gate_up, middle, self.layer.mlp_norm)
        return gate_up, (rstd, low)

    def down(self, middle, gate_up):
        """The layer's output and what the backward pass of its last projection needs."""
        layer, group = self.layer, self.layer.down
        wide = self.ops.swiglu(gate_up, group.extra, layer.gelu)
        low = self.ops.lora_down(wide, *self.lora(group))
        output, *branch = self.leave(group, wide, middle, layer.mlp_out_norm)
        return output, (low, *branch)

    def mlp_backward(self, grad, middle, gate_up, saved, down):
        """Gradients of the middle stream, of gate/up's adapters and of down's; gate_up is overwritten."""
        layer, ops = self.layer, self.ops
        (rstd, low), (low_down, branch, branch_rstd) = saved, down
        branch_grad = self.leave_backward(grad, branch, layer.mlp_out_norm, branch_rstd)
        wide = torch.mm(branch_grad, self.weight(layer.down, backward=True))
        grad_b = torch.mm(branch_grad.t(), low_down)
        del branch_grad
        grad_a = ops.swiglu_backward(wide, gate_up, *self.lora(layer.down), layer.gelu)
        down_grads = layer.down.gradients(grad_a, grad_b)
        del wide
        wide = torch.mm(gate_up, self.weight(layer.gate_up, backward=True))
        grad_b = torch.mm(gate_up.t(), low)
        middle_grad, grad_a = self.enter_backward(layer.gate_up, wide, middle, layer.mlp_norm, rstd, grad)
        return middle_grad, layer.gate_up.gradients(grad_a, grad_b), down_grads

    def attention_backward(self, grad, hidden, saved, need_hidden: bool):
        """Gradients of the layer's input (or None), of q/k/v's adapters and of o's."""
        layer, ops = self.layer, self.ops
        rstd, low, qkv, out, low_out, branch, branch_rstd, *flash = saved
        branch_grad = self.leave_backward(grad, branch, layer.attention_out_norm, branch_rstd)
        wide = torch.mm(branch_grad, self.weight(layer.out, backward=True))
        grad_b = torch.mm(branch_grad.t(), low_out)
        out_grad = torch.empty_like(out)
        grad_a = ops.lora_backward(wide, out.flatten(1), None, *self.lora(layer.out), out=out_grad.flatten(1))
        out_grads = layer.out.gradients(grad_a, grad_b)
        del wide, branch_grad
        rotated = qkv[:, : sum(layer.heads) * layer.dim]
        if layer.qk_norm:
            rotated = ops.rope(qkv, self.cos, self.sin, layer.heads, layer.dim, layer.qk_norm)
        heads = attend_backward(out_grad, *self.heads(qkv, rotated), out, flash, *self.attended)
        qkv_grad = ops.rope_backward(*heads, self.cos, self.sin, qkv, layer.qk_norm)
        del heads, out_grad, rotated
        weight, norm, group = self.weight(layer.qkv, backward=True), layer.attention_norm, layer.qkv
        wide = torch.mm(qkv_grad, weight if need_hidden else weight[:, group.inputs :])
        grad_b = torch.mm(qkv_grad.t(), low)
        if need_hidden:
            hidden_grad, grad_a = self.enter_backward(group, wide, hidden, norm, rstd, grad)
        else:
            norm = norm and (rstd, norm[0])
            hidden_grad, grad_a = None, ops.lora_backward(wide, hidden, norm, *self.lora(group), low_only=True)
        return hidden_grad, group.gradients(grad_a, grad_b), out_grads


class LayerFunction(torch.autograd.Function):
    """`FusedLayer` as a differentiable function of the hidden states (T, H) and of its adapters' weights."""

    @staticmethod
    def forward(ctx, hidden, cos, sin, documents, layer, training, seed, *parameters):
        ctx.walk = walk = _Pass(layer, hidden, cos, sin, documents, training, seed)
        ctx.keep = layer.keep
        with torch.autocast(hidden.device.type, enabled=False):
            middle, attention = walk.attention(hidden)
            gate_up, mlp = walk.gate_up(middle)
            output, down = walk.down(middle, gate_up)
        kept = [hidden, *down]
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
        hidden, *kept = ctx.saved_tensors
        down, kept = kept[:3], kept[3:]
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
            grad, gate_up_grads, down_grads = walk.mlp_backward(grad, middle, gate_up, mlp, down)
            del middle, gate_up
            grad, qkv_grads, out_grads = walk.attention_backward(grad, hidden, attention, ctx.needs_input_grad[0])
        return grad, *(None,) * 6, *qkv_grads, *out_grads, *gate_up_grads, *down_grads
