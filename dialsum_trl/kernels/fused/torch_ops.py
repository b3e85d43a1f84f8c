"""The elementwise and low-rank steps of a fused layer in plain PyTorch: the specification, and what runs without a GPU.

Shapes: T tokens, H hidden, F intermediate, D head dim, K inputs of a projection, N its outputs, r LoRA rank, R the rank
padded for the matrix units, n adapters that read one input (1 to 3), E >= n R extra columns that carry the adapters
through the base's matrix product. A "wide" buffer is (T, K + E): the input of a group of projections and, beside it,
what the adapters' A made of it; `weights` builds the matching weight.

Dtypes: activations, weights of norms, cos and sin are of one dtype (`triton_ops`: bfloat16 or float16); sums run in
float32. A and B may be float32, and are rounded to the activations' dtype; gradients of A are float32.

Arguments of LoRA: `a` is the list of the adapters' A, each (r, K); `rank` is R; `scale` is alpha / r; `p` the dropout;
`keys` two int32 keys of the dropout masks.

Dropout masks are a hash of (key, token, column) instead of stored bits, so that the backward pass makes them anew:
16 bits decide one element, hence p is exact to 1/65536. Two adapters on one input share a hash, one half each.
"""

import math

import torch
from bitsandbytes.functional import QuantState, dequantize_4bit
from torch import Tensor

Keys = tuple[int, int]
HeadNorms = tuple[Tensor, Tensor, float]
_GELU = 2 * (2 / math.pi) ** 0.5


def _keep(shape: torch.Size, key: int, half: int, p: float, device: torch.device) -> Tensor:
    """Boolean (T, K) mask of the elements that dropout keeps, by the hash "lowbias32" of C. Wellons' hash-prospector.

    The arithmetic is that of unsigned 32-bit numbers, written with signed ones: products wrap around, and the bits that
    a right shift drags in are masked away.
    """
    x = torch.arange(shape[0] * shape[1], dtype=torch.int32, device=device).view(shape) ^ key
    x ^= x >> 16 & 0xFFFF
    x *= 0x21F0AAAD
    x ^= x >> 15 & 0x1FFFF
    x *= 0xD35A2D97 - 2**32
    x ^= x >> 15 & 0x1FFFF
    return (x >> (16 * half) & 0xFFFF) >= round(p * 65536)


def _dropped(x: Tensor, adapter: int, p: float, keys: Keys) -> Tensor:
    """x with the elements of this adapter's mask zeroed, not rescaled."""
    return x * _keep(x.shape, keys[adapter // 2], adapter % 2, p, x.device) if p else x


def rms_norm(
    hidden: Tensor, weight: Tensor, eps: float, extra: int = 0, residual: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """hidden (T, H), weight (H,) -> wide (T, H + E) whose first H columns are the norm, and rstd (T,), float32.

    residual: (T, H), added to the rounded norm.
    """
    x = hidden.float()
    rstd = torch.rsqrt(x.pow(2).mean(-1) + eps)
    wide = hidden.new_zeros(hidden.shape[0], hidden.shape[1] + extra)
    wide[:, : hidden.shape[1]] = weight * (x * rstd[:, None]).to(hidden.dtype)
    if residual is not None:
        wide[:, : hidden.shape[1]] += residual
    return wide, rstd


def rms_norm_backward(
    grad: Tensor, hidden: Tensor, weight: Tensor, rstd: Tensor, residual: Tensor | None = None
) -> Tensor:
    """The gradient of the norm's input `hidden`, + residual (T, H); `grad` may be a strided (T, H) view."""
    normed = hidden.float() * rstd[:, None]
    weighted = grad.float() * weight.float()
    mean = (weighted * normed).mean(-1, keepdim=True)
    out = rstd[:, None] * (weighted - normed * mean)
    return (out if residual is None else residual.float() + out).to(hidden.dtype)


def lora_down(
    wide: Tensor, a: list[Tensor], rank: int, scale: float, p: float, keys: Keys, source: Tensor | None = None
) -> Tensor:
    """Fills the extra columns of wide (T, K + E) with scale * dropout(x) @ A_j^T and returns them as (T, n R).

    source: (T, K), copied into the other columns first; without it they hold x already.
    """
    k = a[0].shape[1]
    if source is not None:
        wide[:, :k] = source
    x, out = wide[:, :k], wide.new_zeros(wide.shape[0], len(a) * rank)
    for j, matrix in enumerate(a):
        low = _dropped(x, j, p, keys) @ matrix.to(x.dtype).t() * (scale / (1 - p))
        out[:, j * rank : j * rank + matrix.shape[0]] = low
    wide[:, k : k + out.shape[1]] = out
    wide[:, k + out.shape[1] :] = 0
    return out


def lora_backward(
    grad_wide: Tensor, x: Tensor, norm: tuple[Tensor, Tensor] | None, a: list[Tensor], rank: int, scale: float,
    p: float, keys: Keys, out: Tensor | None = None, low_only: bool = False, residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Adds the adapters' part to the input gradient and returns the gradients of A as float32 (n R, K).

    grad_wide (T, K + E): the input gradient of the base and, in the extra columns, that of A's output; or, `low_only`,
    those columns alone, (T, E), where no input gradient is wanted. The sum, with `residual` (T, K) if given, goes to
    `out` (T, K), or in place.
    x (T, K): the input, or what was normalized into it when `norm` is (rstd, weight).
    """
    k = x.shape[1]
    low = grad_wide if low_only else grad_wide[:, k:]
    if norm is not None:
        x = (norm[1] * (x.float() * norm[0][:, None]).to(x.dtype)).to(x.dtype)
    if not low_only:
        total = grad_wide[:, :k].float() + (0 if residual is None else residual)
    grad_a = torch.zeros(len(a) * rank, k, dtype=torch.float32, device=x.device)
    for j, matrix in enumerate(a):
        rows = slice(j * rank, j * rank + matrix.shape[0])
        grad = low[:, rows]
        grad_a[rows] = (grad.t() @ _dropped(x, j, p, keys)).float() * (scale / (1 - p))
        if not low_only:
            total = total + _dropped(grad @ matrix.to(x.dtype), j, p, keys) * (scale / (1 - p))
    if not low_only:
        (grad_wide[:, :k] if out is None else out).copy_(total)
    return grad_a


def _rotated(x, cos, sin):
    half = cos.shape[-1] // 2
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = cos[:, None, :half], sin[:, None, :half]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), -1)


def _head_norm(x, weight, eps: float):
    rstd = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)
    return (weight * (x.float() * rstd).to(x.dtype)).to(x.dtype), rstd


def rope(
    qkv: Tensor, cos: Tensor, sin: Tensor, heads: tuple[int, int], dim: int, qk_norm: HeadNorms | None = None
) -> Tensor:
    """Rotated queries and keys, (T, (nq + nk) D), of qkv (T, (nq + 2 nk) D); in place without `qk_norm`.

    cos, sin (T, rotary): the first `rotary` of a head's D dimensions rotate by halves; none may. heads: (nq, nk).
    qk_norm: weights (D,) of queries and of keys, and eps, of norms before the rotation; qkv stays unchanged then.
    """
    nq, nk = heads
    x = qkv[:, : (nq + nk) * dim].view(-1, nq + nk, dim)
    if qk_norm is not None:
        x = torch.cat((_head_norm(x[:, :nq], qk_norm[0], qk_norm[2])[0], _head_norm(x[:, nq:], *qk_norm[1:])[0]), 1)
    x = _rotated(x, cos, sin).flatten(1)
    if qk_norm is not None:
        return x
    qkv[:, : (nq + nk) * dim] = x
    return qkv[:, : (nq + nk) * dim]


def rope_into_cache(
    qkv: Tensor, cos: Tensor, sin: Tensor, heads: tuple[int, int], dim: int, qk_norm: HeadNorms | None, keys: Tensor,
    values: Tensor, rows: Tensor, at: Tensor,
) -> Tensor:  # fmt: skip
    """As `rope`; keys and values of token t also go to entry at[t] of row rows[t] of a cache (rows, nk, entries, D)."""
    return write(rope(qkv, cos, sin, heads, dim, qk_norm), qkv, heads, dim, keys, values, rows, at)


def write(rotated: Tensor, qkv: Tensor, heads: tuple[int, int], dim: int, keys, values, rows, at) -> Tensor:
    """The second half of `rope_into_cache`, after `rope`; returns what that returned."""
    nq, nk = heads
    keys[rows, :, at] = rotated[:, nq * dim :].unflatten(1, (nk, dim))
    values[rows, :, at] = qkv[:, (nq + nk) * dim :].unflatten(1, (nk, dim))
    return rotated


def rope_backward(
    dq: Tensor, dk: Tensor, dv: Tensor, cos: Tensor, sin: Tensor, qkv: Tensor, qk_norm: HeadNorms | None = None
) -> Tensor:
    """Gradients of rotated heads, (T, nq, D), (T, nk, D), (T, nk, D) -> of qkv, (T, (nq + 2 nk) D)."""
    nq = dq.shape[1]
    x = _rotated(torch.cat((dq, dk), 1), cos, -sin)
    if qk_norm is not None:
        before = qkv[:, : x.shape[1] * x.shape[2]].view_as(x)
        parts = []
        for grad, inputs, weight in ((x[:, :nq], before[:, :nq], qk_norm[0]), (x[:, nq:], before[:, nq:], qk_norm[1])):
            rstd = _head_norm(inputs, weight, qk_norm[2])[1]
            normed, weighted = inputs.float() * rstd, grad.float() * weight.float()
            parts.append((rstd * (weighted - normed * (weighted * normed).mean(-1, keepdim=True))).to(x.dtype))
        x = torch.cat(parts, 1)
    return torch.cat((x, dv), 1).flatten(1)


def _gate(gate: Tensor, gelu: bool) -> tuple[Tensor, Tensor | float]:
    """sigmoid(z) and dz/dgate; the activation is gate * sigmoid(z), with z = gate for SiLU, or as below for GELU."""
    if not gelu:
        return torch.sigmoid(gate), 1.0
    z, slope = gate * (1 + 0.044715 * gate * gate), 1 + 0.134145 * gate * gate
    return torch.sigmoid(_GELU * z), _GELU * slope


def swiglu(gate_up: Tensor, extra: int, gelu: bool = False) -> Tensor:
    """gate and up (T, 2 F) -> wide (T, F + E) whose first F columns are silu(gate) * up, or gelu(gate) * up."""
    gate, up = gate_up.chunk(2, -1)
    active = (gate.float() * _gate(gate.float(), gelu)[0]).to(gate.dtype)
    return torch.nn.functional.pad(active * up, (0, extra))


def swiglu_backward(
    grad_wide: Tensor, gate_up: Tensor, a: list[Tensor], rank: int, scale: float, p: float, keys: Keys,
    gelu: bool = False,
) -> Tensor:  # fmt: skip
    """Turns gate_up (T, 2 F) into its gradient, in place; returns the gradient of A, float32 (R, F).

    grad_wide (T, F + E): gradient of swiglu's output from the base and, in the extra columns, of A's output.
    """
    gate, up = gate_up.chunk(2, -1)
    gate, up = gate.float(), up.float()
    sigmoid, slope = _gate(gate, gelu)
    active = gate * sigmoid
    product = active.to(gate_up.dtype) * up.to(gate_up.dtype)
    grad_a = lora_backward(grad_wide, product, None, a, rank, scale, p, keys)
    grad = grad_wide[:, : gate.shape[1]].float()
    gate_up[:, : gate.shape[1]] = (grad * up * (sigmoid + active * (1 - sigmoid) * slope)).to(gate_up.dtype)
    gate_up[:, gate.shape[1] :] = (grad * active).to(gate_up.dtype)
    return grad_a


def load_weight(
    out: Tensor, row: int, k: int, base: Tensor, state: QuantState | None, b: Tensor, adapter: int, rank: int
) -> None:
    """Writes rows [row, row + N) of a wide weight `out` (.., K + E): the base's, and B (N, r) in its columns.

    base: a dense (N, K) tensor, or 4-bit data (uint8) with its bitsandbytes `state`.
    adapter: its place among the n, which decides its columns.
    """
    rows = slice(row, row + b.shape[0])
    out[rows, :k] = base if state is None else dequantize_4bit(base, state)
    out[rows, k:] = 0
    start = k + adapter * rank
    out[rows, start : start + b.shape[1]] = b
