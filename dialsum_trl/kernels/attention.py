"""Causal attention inside each document of a pack: documents never see one another, and no mask is ever built.

A pack is one row of T tokens that holds several documents back to back; `bounds` is the int32 tensor
(0, n1, n1 + n2, .., T) of their edges. From Ampere on, in half precision, PyTorch's variable-length FlashAttention does
the work (that of `torch.nn.attention.varlen`, called below its wrapper, which has no grouped queries before torch
2.13); on other CUDA devices and in float32 its memory-efficient kernel; elsewhere each document goes through
`scaled_dot_product_attention`. All cost what the documents cost, not T squared. `core.cards` has the rule.

`register()` makes it `attn_implementation="packed"` of transformers. Without document edges (generation, padded
evaluation) that name behaves exactly as "sdpa", mask included, so it never has to be switched off.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import NamedTuple

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


class Keys(NamedTuple):
    """The keys of documents that begin with tokens of an earlier document, which are in the pack once.

    Attributes:
        places: (K,) which token of the pack each key is of, one document after the other. A document's last keys are
            its own tokens.
        bounds: int32 (documents + 1,), the edges of the documents in `places`.
        longest: keys of the document with most of them.
    """

    places: Tensor
    bounds: Tensor
    longest: int


@torch.no_grad()
def shares_keys(like: Tensor) -> bool:
    """Whether `attend` takes `Keys` for tensors (.., D) like this, tried on two documents that begin alike."""
    if kernel_of(like) == "efficient":
        return False
    drawn = torch.randn(3, 17, 2, like.shape[-1], generator=torch.Generator().manual_seed(0))
    query, key, value = drawn.to(like.device, like.dtype)
    common, one, other = torch.arange(17, device=like.device).split([8, 4, 5])
    places = torch.cat([common, one, common, other])
    scale = like.shape[-1] ** -0.5
    edges, apart = torch.tensor([[0, 12, 17], [0, 12, 25]], dtype=torch.int32, device=like.device)
    shared = attend(query, key, value, edges, 12, scale, keys=Keys(places, apart, 13))[0]
    alone = attend(query[places], key[places], value[places], apart, 13, scale)[0]
    difference = (shared[12:] - alone[20:]).float().norm() / alone[20:].float().norm()
    return bool(difference < 0.02)


def _documents(bounds: Tensor, keys: Keys | None) -> Iterator[tuple[slice, slice]]:
    """Rows of the queries and of the keys of every document that is not empty."""
    spans = (bounds, bounds if keys is None else keys.bounds)
    for (start, end), (first, last) in zip(*(pairwise(edges.tolist()) for edges in spans), strict=True):
        if end > start:
            yield slice(start, end), slice(first, last)


def _one_document(query, key, value, scale, window):
    mask, before = None, key.shape[0] - query.shape[0]
    if before or (window is not None and window < query.shape[0]):
        distance = torch.arange(before, key.shape[0], device=query.device)[:, None]
        distance = distance - torch.arange(key.shape[0], device=query.device)
        mask = (distance >= 0) & (distance < (window or key.shape[0]))
    out = scaled_dot_product_attention(
        *(x.transpose(0, 1)[None] for x in (query, key, value)),
        attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True,
    )  # fmt: skip
    return out[0].transpose(0, 1)


def _flash_window(window: int | None) -> dict[str, int]:
    """FlashAttention counts the tokens before a token, transformers the token too."""
    return {} if window is None else {"window_size_left": window - 1, "window_size_right": 0}


def attend(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float, window: int | None = None,
    keys: Keys | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """Attention of every document, without autograd.

    Args:
        query: (T, heads, D) of any float dtype. Strided views are fine, here and below.
        key, value: (T, key heads, D) of the same dtype; the key heads divide the query heads.
        bounds: int32 (documents + 1,), first 0 and last T; empty documents are allowed.
        longest: tokens of the longest document. A smaller number would leave rows unwritten.
        scale: factor of the scores, D ** -0.5 as a rule.
        window: how many tokens a token looks at, itself included; None: at all before it.
        keys: what the documents attend to where that is not just themselves; where `shares_keys`.

    Returns:
        The output (T, heads, D) in the dtype of the query, and what `attend_backward` needs besides it.
    """
    kernel = kernel_of(query)
    if kernel == "efficient":
        return efficient(query, key, value, bounds, longest, scale, window)
    if keys is not None:
        key, value = key.index_select(0, keys.places), value.index_select(0, keys.places)
    if kernel == "flash":
        out, lse, rng, unused, _ = torch.ops.aten._flash_attention_forward(
            query, key, value, *_edges(bounds, longest, keys), 0.0, True, False, scale=scale, **_flash_window(window)
        )
        return out, (lse, rng, unused)
    out = torch.empty_like(query)
    for rows, seen in _documents(bounds, keys):
        out[rows] = _one_document(query[rows], key[seen], value[seen], scale, window)
    return out, ()


def _edges(bounds: Tensor, longest: int, keys: Keys | None) -> tuple[Tensor, Tensor, int, int]:
    """What FlashAttention wants to know; its causal mask ends where queries and keys of a document end."""
    return (bounds, bounds, longest, longest) if keys is None else (bounds, keys.bounds, longest, keys.longest)


def attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, saved: Sequence[Tensor], bounds: Tensor,
    longest: int, scale: float, window: int | None = None, keys: Keys | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of query, key and value, in their shapes and dtypes.

    Args:
        grad: gradient of the output, (T, heads, D).
        out, saved: what `attend` returned for the other arguments.
    """
    kernel = kernel_of(query)
    if kernel == "efficient":
        return efficient_backward(grad, query, key, value, out, saved, bounds, longest, scale, window)
    if keys is not None:
        key, value = key.index_select(0, keys.places), value.index_select(0, keys.places)
    if kernel == "flash":
        lse, rng, unused = saved
        grads = torch.ops.aten._flash_attention_backward(
            grad, query, key, value, out, lse, *_edges(bounds, longest, keys), 0.0, True, rng, unused, scale=scale,
            **_flash_window(window),
        )  # fmt: skip
    else:
        grads = tuple(torch.empty_like(x) for x in (query, key, value))
        for rows, seen in _documents(bounds, keys):
            with torch.enable_grad():
                parts = [query[rows], key[seen], value[seen]]
                parts = [part.detach().requires_grad_() for part in parts]
                result = _one_document(*parts, scale, window)
            places = (rows, seen, seen)
            for whole, place, part in zip(grads, places, torch.autograd.grad(result, parts, grad[rows]), strict=True):
                whole[place] = part
    if keys is None:
        return grads
    return grads[0], *(_summed(each, keys.places, query.shape[0]) for each in grads[1:])


def _summed(grad: Tensor, places: Tensor, tokens: int) -> Tensor:
    """Gradients of tokens from those of keys: many documents may share one, so the sum is in float32 at least."""
    dtype = torch.promote_types(grad.dtype, torch.float32)
    total = torch.zeros(tokens, *grad.shape[1:], dtype=dtype, device=grad.device)
    return total.index_add_(0, places, grad.to(dtype)).to(grad.dtype)


class DocumentAttention(torch.autograd.Function):
    """`attend` as a differentiable function of query, key and value: for layers that run as transformers wrote them."""

    @staticmethod
    def forward(ctx, query, key, value, bounds, *more):
        out, saved = attend(query, key, value, bounds, *more)
        ctx.save_for_backward(query, key, value, out, bounds, *saved)
        ctx.more = more
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, bounds, *saved = ctx.saved_tensors
        grads = attend_backward(grad, query, key, value, out, saved, bounds, *ctx.more)
        return *grads, *(None,) * (1 + len(ctx.more))


def packed_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None, sliding_window: int | None = None, shared_keys: Keys | None = None, **kwargs,
) -> tuple[Tensor, None]:  # fmt: skip
    """transformers' attention interface: query (1, heads, T, D) -> output (1, T, heads, D) in its dtype.

    Args:
        cu_seq_lens_q: int32 edges of the documents; without them this is transformers' own sdpa.
        max_length_q: tokens of the longest document.
        sliding_window: how many tokens a token looks at, itself included.
        shared_keys: as `keys` of `attend`.
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
        *(x[0].transpose(0, 1) for x in (query, key, value)),
        cu_seq_lens_q, max_length_q, scale, sliding_window, shared_keys,
    )  # fmt: skip
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
