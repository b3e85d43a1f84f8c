"""Causal attention inside each document of a pack: documents never see one another, and no mask is ever built.

A pack is one row of T tokens that holds several documents back to back; `bounds` is the int32 tensor
(0, n1, n1 + n2, .., T) of their edges. From Ampere on, in half precision, PyTorch's variable-length FlashAttention does
the work (that of `torch.nn.attention.varlen`, called below its wrapper, which has no grouped queries before torch
2.13); on other CUDA devices and in float32 its memory-efficient kernel; elsewhere each document goes through
`scaled_dot_product_attention`. All cost what the documents cost, not T squared. `core.cards` has the rule.

`register()` makes it `attn_implementation="packed"` of transformers. Without document edges (generation, padded
evaluation) that name behaves exactly as "sdpa", mask included, so it never has to be switched off.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.attention import (
    activate_flash_attention_impl,
    current_flash_attention_impl,
    list_flash_attention_impls,
)
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dialsum_trl.core.cards import document_attention
from dialsum_trl.core.console import say
from dialsum_trl.kernels.efficient_attention import efficient, efficient_backward

PACKED = "packed"


def kernel_of(query: Tensor) -> str:
    """ "flash", "efficient" or "documents": what attends to this tensor (.., D)."""
    if not query.is_cuda or torch.version.cuda is None:
        return "documents"
    dtype = str(query.dtype).removeprefix("torch.")
    return document_attention(torch.cuda.get_device_capability(query.device), dtype, query.shape[-1])


def newer_flash() -> None:
    """Has torch use FlashAttention 3 (Hopper) or 4 (Blackwell's servers) where that package is installed."""
    major = torch.cuda.get_device_capability()[0] if torch.cuda.is_available() and torch.version.cuda else 0
    name, module = {9: ("FA3", "flash_attn_interface"), 10: ("FA4", "flash_attn.cute")}.get(major, (None, None))
    if name is None or find_spec(module.partition(".")[0]) is None or find_spec(module) is None:
        return
    if name in list_flash_attention_impls() and current_flash_attention_impl() != name:
        activate_flash_attention_impl(name)
        say(f"Attention: {name}, of the installed {module}")


def _documents(bounds: Tensor) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(bounds.tolist()) if end > start]


def _one_document(query, key, value, scale, window):
    mask = None
    if window is not None and window < query.shape[0]:
        distance = torch.arange(query.shape[0], device=query.device)
        distance = distance[:, None] - distance
        mask = (distance >= 0) & (distance < window)
    out = scaled_dot_product_attention(
        *(x.transpose(0, 1)[None] for x in (query, key, value)),
        attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True,
    )  # fmt: skip
    return out[0].transpose(0, 1)


def _flash_window(window: int | None) -> dict[str, int]:
    """FlashAttention counts the tokens before a token, transformers the token too."""
    return {} if window is None else {"window_size_left": window - 1, "window_size_right": 0}


def attend(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float, window: int | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Attention of every document, without autograd.

    Args:
        query: (T, heads, D) of any float dtype. Strided views are fine, here and below.
        key, value: (T, key heads, D) of the same dtype; the key heads divide the query heads.
        bounds: int32 (documents + 1,), first 0 and last T; empty documents are allowed.
        longest: tokens of the longest document. A smaller number would leave rows unwritten.
        scale: factor of the scores, D ** -0.5 as a rule.
        window: how many tokens a token looks at, itself included; None: at all before it.

    Returns:
        The output (T, heads, D) in the dtype of the query, and what `attend_backward` needs besides it.
    """
    kernel = kernel_of(query)
    if kernel == "efficient":
        return efficient(query, key, value, bounds, longest, scale, window)
    if kernel == "flash":
        out, lse, rng, unused, _ = torch.ops.aten._flash_attention_forward(
            query, key, value, bounds, bounds, longest, longest, 0.0, True, False, scale=scale,
            **_flash_window(window),
        )  # fmt: skip
        return out, (lse, rng, unused)
    out = torch.empty_like(query)
    for rows in _documents(bounds):
        out[rows] = _one_document(query[rows], key[rows], value[rows], scale, window)
    return out, ()


def attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, saved: Sequence[Tensor], bounds: Tensor,
    longest: int, scale: float, window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of query, key and value, in their shapes and dtypes.

    Args:
        grad: gradient of the output, (T, heads, D).
        out, saved: what `attend` returned for the other arguments.
    """
    kernel = kernel_of(query)
    if kernel == "efficient":
        return efficient_backward(grad, query, key, value, out, saved, bounds, longest, scale, window)
    if kernel == "flash":
        lse, rng, unused = saved
        return torch.ops.aten._flash_attention_backward(
            grad, query, key, value, out, lse, bounds, bounds, longest, longest, 0.0, True, rng, unused, scale=scale,
            **_flash_window(window),
        )  # fmt: skip
    grads = tuple(torch.empty_like(x) for x in (query, key, value))
    for rows in _documents(bounds):
        with torch.enable_grad():
            parts = [x[rows].detach().requires_grad_() for x in (query, key, value)]
            result = _one_document(*parts, scale, window)
        for whole, part in zip(grads, torch.autograd.grad(result, parts, grad[rows]), strict=True):
            whole[rows] = part
    return grads


class DocumentAttention(torch.autograd.Function):
    """`attend` as a differentiable function of query, key and value: for layers that run as transformers wrote them."""

    @staticmethod
    def forward(ctx, query, key, value, bounds, longest, scale, window):
        out, saved = attend(query, key, value, bounds, longest, scale, window)
        ctx.save_for_backward(query, key, value, out, bounds, *saved)
        ctx.more = longest, scale, window
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, bounds, *saved = ctx.saved_tensors
        grads = attend_backward(grad, query, key, value, out, saved, bounds, *ctx.more)
        return *grads, None, None, None, None


def packed_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None, sliding_window: int | None = None, **kwargs,
) -> tuple[Tensor, None]:  # fmt: skip
    """transformers' attention interface: query (1, heads, T, D) -> output (1, T, heads, D) in its dtype.

    Args:
        cu_seq_lens_q: int32 edges of the documents; without them this is transformers' own sdpa.
        max_length_q: tokens of the longest document.
        sliding_window: how many tokens a token looks at, itself included.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            sliding_window=sliding_window,
            **kwargs,
        )
    if query.shape[0] != 1 or query.shape[2] != key.shape[2] or dropout:
        raise ValueError("packed attention takes one row of documents, no cache and no attention dropout")
    if unknown := [name for name in ("s_aux", "softcap", "position_bias") if kwargs.get(name) is not None]:
        raise ValueError(f"packed attention has no {unknown[0]} (attention sinks, capped or biased scores)")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = DocumentAttention.apply(
        *(x[0].transpose(0, 1) for x in (query, key, value)), cu_seq_lens_q, max_length_q, scale, sliding_window
    )
    return out[None], None


def packed_mask(
    q_length: int, kv_length: int, attention_mask: Tensor | None = None, allow_is_causal_skip: bool = True,
    use_vmap: bool = False, **kwargs,
) -> Tensor | None:  # fmt: skip
    """No mask for a pack, which transformers knows by its positions; otherwise that of sdpa."""
    several_documents = not allow_is_causal_skip and not use_vmap
    if attention_mask is None and q_length == kv_length and (several_documents or kwargs.get("local_size") is None):
        return None
    return sdpa_mask(
        q_length=q_length, kv_length=kv_length, attention_mask=attention_mask,
        allow_is_causal_skip=allow_is_causal_skip, use_vmap=use_vmap, **kwargs,
    )  # fmt: skip


def register() -> str:
    """Makes `attn_implementation="packed"` known to transformers and returns that name."""
    newer_flash()
    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, packed_mask)
    return PACKED
