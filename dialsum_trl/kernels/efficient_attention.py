"""Attention inside each document by torch's memory-efficient kernel: every CUDA device, float32 and float16.

For GPUs before Ampere, and for float32: FlashAttention has neither. One launch for all documents, no mask. The
kernel of `scaled_dot_product_attention`'s efficient backend takes document edges too, but only below that function.
"""

import torch
from torch import Tensor

CAUSAL = 1  # from the first token of each document


def _whole_heads(query: Tensor, *sides: Tensor) -> list[Tensor]:
    """Keys and values with as many heads as the query: the kernel has no grouped queries."""
    return [side.repeat_interleave(query.shape[1] // side.shape[1], 1)[None] for side in sides]


def efficient(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float, window: int | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """As `attention.attend`: the output (T, heads, D), and what `efficient_backward` needs besides it."""
    out, lse, seed, offset, _, _ = torch.ops.aten._efficient_attention_forward(
        query[None], *_whole_heads(query, key, value), None, bounds, bounds, longest, longest, 0.0, CAUSAL, True,
        scale=scale, window_size=window,
    )  # fmt: skip
    return out[0], (lse, seed, offset)


def efficient_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, saved: tuple[Tensor, ...], bounds: Tensor,
    longest: int, scale: float, window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As `attention.attend_backward`."""
    lse, seed, offset = saved
    grads = torch.ops.aten._efficient_attention_backward(
        grad[None].contiguous(), query[None], *_whole_heads(query, key, value), None, out[None], bounds, bounds,
        longest, longest, lse, 0.0, seed, offset, CAUSAL, False, scale=scale, window_size=window,
    )  # fmt: skip
    grad_query, *sides = (each[0] for each in grads[:3])
    return grad_query, *(side.unflatten(1, (key.shape[1], -1)).sum(2) for side in sides)
