"""Causal attention inside each document of a pack: documents never see one another, and no mask is ever built.

A pack is one row of T tokens that holds several documents back to back; `bounds` is the int32 tensor
(0, n1, n1 + n2, .., T) of their edges. On a GPU, with half precision, PyTorch's own variable-length FlashAttention does
the work (the one behind `torch.nn.attention.varlen`, called below its wrapper, which has no grouped queries before
torch 2.13); elsewhere each document goes through `scaled_dot_product_attention`. Both cost what the documents cost,
not T squared.

`register()` makes it `attn_implementation="packed"` of transformers. Without document edges (generation, padded
evaluation) that name behaves exactly as "sdpa", mask included, so it never has to be switched off.
"""

from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "packed"


def uses_flash(query: torch.Tensor) -> bool:
    """Whether FlashAttention takes this tensor (any shape that ends with the head dimension)."""
    half = query.dtype in (torch.float16, torch.bfloat16)
    return query.is_cuda and torch.version.cuda is not None and half and query.shape[-1] <= 256


def _documents(bounds):
    return [slice(start, end) for start, end in pairwise(bounds.tolist()) if end > start]


def _one_document(query, key, value, scale):
    out = scaled_dot_product_attention(
        *(x.transpose(0, 1)[None] for x in (query, key, value)), is_causal=True, scale=scale, enable_gqa=True
    )
    return out[0].transpose(0, 1)


def attend(query, key, value, bounds, longest: int, scale: float):
    """Attention of every document, without autograd.

    Args:
        query: (T, heads, D); key, value: (T, key heads, D), which divide the query heads. Strided views are fine.
        bounds: int32 (documents + 1,), first 0 and last T; empty documents are allowed.
        longest: tokens of the longest document. A smaller number would leave rows unwritten.

    Returns:
        The output (T, heads, D) and what `attend_backward` needs besides it.
    """
    if uses_flash(query):
        out, lse, rng, unused, _ = torch.ops.aten._flash_attention_forward(
            query, key, value, bounds, bounds, longest, longest, 0.0, True, False, scale=scale
        )
        return out, (lse, rng, unused)
    out = torch.empty_like(query)
    for rows in _documents(bounds):
        out[rows] = _one_document(query[rows], key[rows], value[rows], scale)
    return out, ()


def attend_backward(grad, query, key, value, out, saved, bounds, longest: int, scale: float):
    """Gradients of query, key and value from that of the output; arguments as in `attend`."""
    if uses_flash(query):
        lse, rng, unused = saved
        return torch.ops.aten._flash_attention_backward(
            grad, query, key, value, out, lse, bounds, bounds, longest, longest, 0.0, True, rng, unused, scale=scale
        )
    grads = tuple(torch.empty_like(x) for x in (query, key, value))
    for rows in _documents(bounds):
        with torch.enable_grad():
            parts = [x[rows].detach().requires_grad_() for x in (query, key, value)]
            result = _one_document(*parts, scale)
        for whole, part in zip(grads, torch.autograd.grad(result, parts, grad[rows]), strict=True):
            whole[rows] = part
    return grads


class DocumentAttention(torch.autograd.Function):
    """`attend` as a differentiable function, for models whose layers run as transformers wrote them."""

    @staticmethod
    def forward(ctx, query, key, value, bounds, longest, scale):
        out, saved = attend(query, key, value, bounds, longest, scale)
        ctx.save_for_backward(query, key, value, out, bounds, *saved)
        ctx.longest, ctx.scale = longest, scale
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, bounds, *saved = ctx.saved_tensors
        grads = attend_backward(grad, query, key, value, out, saved, bounds, ctx.longest, ctx.scale)
        return *grads, None, None, None


def packed_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    dropout=0.0,
    scaling=None,
    cu_seq_lens_q=None,
    max_length_q=None,
    **kwargs,
):
    """transformers' attention interface, (1, heads, T, D) -> (1, T, heads, D); `cu_seq_lens_q`: document edges."""
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if query.shape[0] != 1 or query.shape[2] != key.shape[2] or dropout:
        raise ValueError("packed attention takes one row of documents, no cache and no attention dropout")
    if (kwargs.get("sliding_window") or max_length_q) < max_length_q or kwargs.get("s_aux") is not None:
        raise ValueError("packed attention looks at every token before, without windows and sinks")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = DocumentAttention.apply(
        *(x[0].transpose(0, 1) for x in (query, key, value)), cu_seq_lens_q, max_length_q, scale
    )
    return out[None], None


def packed_mask(q_length, kv_length, attention_mask=None, **kwargs):
    """No mask for a pack, whose model has no windows (`packable`); otherwise that of sdpa."""
    if attention_mask is None and q_length == kv_length and kwargs.get("local_size") is None:
        return None
    return sdpa_mask(q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **kwargs)


def register() -> str:
    """Makes `attn_implementation="packed"` known to transformers and returns that name."""
    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, packed_mask)
    return PACKED
