"""One Triton kernel: attention of a decoding step over slots and rows, each read only as far as it is filled.

PyTorch's attention with a mask reads every slot up to the longest one, and a captured graph up to the end of each.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from dialsum_trl.kernels import tiles

Sides = tuple[torch.Tensor, torch.Tensor]  # keys and values


@triton.jit
def _block(q, k_at, v_at, n, stop, visible, best, total, acc, IEEE: tl.constexpr):
    """Online softmax over one block of keys; `visible` masks single entries."""
    inside = n < stop
    k = tl.load(k_at, mask=inside[None, :], other=0.0)
    v = tl.load(v_at, mask=inside[:, None], other=0.0)
    s = tl.dot(q, k, input_precision="ieee" if IEEE else None)
    # finite, so that a block without any visible entry is weighted with 0 later instead of NaN now
    s = tl.where(visible & inside[None, :], s, -1.0e30)
    higher = tl.maximum(best, tl.max(s, 1))
    p = tl.exp2(s - higher[:, None])
    shrink = tl.exp2(best - higher)
    total = total * shrink + tl.sum(p, 1)
    acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee" if IEEE else None)
    return higher, total, acc


@triton.jit(do_not_specialize=["limit"])  # one compilation for every max_new_tokens
def _attend(
    q_ptr, prompt_k, prompt_v, own_k, own_v, visible_ptr, source_ptr, length_ptr, step_ptr, out_ptr,
    q_row, q_head, q_cand, slot_row, slot_head, slot_entry, own_row, own_head, own_entry, seen_row, seen_cand,
    scale, limit,
    WIDTH: tl.constexpr, GROUP: tl.constexpr, SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, IEEE: tl.constexpr,
):  # fmt: skip
    """Program (row, key/value head, block of its `GROUP * WIDTH` queries) against its slot and the row's own."""
    row, kv_head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    m, d = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    block = tl.arange(0, BLOCK_N)
    head, cand = kv_head * GROUP + m // WIDTH, m % WIDTH
    in_m, in_d = m < GROUP * WIDTH, d < SIZE
    q_at = q_ptr + row * q_row + head[:, None] * q_head + cand[:, None] * q_cand + d[None, :]
    q = tl.load(q_at, mask=in_m[:, None] & in_d[None, :], other=0.0)
    q = (q.to(tl.float32) * (scale * 1.4426950408889634)).to(q.dtype)  # exp2 instead of exp

    slot = tl.load(source_ptr + row)
    length = tl.load(length_ptr + slot).to(tl.int32)
    step = tl.minimum(tl.load(step_ptr + row).to(tl.int32), limit - 1)
    stop = (step + 1) * WIDTH
    prompt = slot * slot_row + kv_head * slot_head
    own = row * own_row + kv_head * own_head
    best = tl.full([BLOCK_M], -1.0e30, tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for start in range(0, length, BLOCK_N):  # the prompt: every candidate sees it
        n = start + block
        everything = in_m[:, None] & (n < length)[None, :]
        best, total, acc = _block(
            q, prompt_k + prompt + n[None, :] * slot_entry + d[:, None],
            prompt_v + prompt + n[:, None] * slot_entry + d[None, :], n, length, everything, best, total, acc, IEEE,
        )  # fmt: skip
    for start in range(0, stop, BLOCK_N):  # what was generated: each candidate sees its own past
        n = start + block
        seen_at = visible_ptr + row * seen_row + cand[:, None] * seen_cand + n[None, :]
        seen = tl.load(seen_at, mask=in_m[:, None] & (n < stop)[None, :], other=0) != 0
        best, total, acc = _block(
            q, own_k + own + n[None, :] * own_entry + d[:, None], own_v + own + n[:, None] * own_entry + d[None, :],
            n, stop, seen, best, total, acc, IEEE,
        )  # fmt: skip

    heads = tl.num_programs(1) * GROUP
    out_at = out_ptr + ((row * WIDTH + cand[:, None]) * heads + head[:, None]) * SIZE + d[None, :]
    result = (acc / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_at, result, mask=in_m[:, None] & in_d[None, :])


def attend(query: torch.Tensor, prompts: Sides, rows: Sides, cache: Any, scaling: float) -> torch.Tensor:
    """Attention of the queries of n rows, each over the prompt of its slot and over its own entries.

    Args:
        query: (n, heads, width, size), float32 or half.
        prompts: keys and values (slots, key heads, entries, size) of the same dtype, strided alike; the last dimension
            is contiguous.
        rows: likewise (rows, key heads, entries, size).
        cache: `visible` (rows, width, entries) bool, `source` and `step` (rows,) int64, `length` (slots,) int64,
            `limit` steps at most.
        scaling: factor of the scores.

    Returns:
        (n, width, heads, size) in the dtype of the query.
    """
    n, heads, width, size = query.shape
    kv_heads = rows[0].shape[1]
    group = heads // kv_heads
    visible = cache.visible.view(torch.uint8)
    output = torch.empty(n, width, heads, size, dtype=query.dtype, device=query.device)
    tile = tiles.slot_attention(tiles.device_of(query.device), group * width, size, query.element_size())
    _attend[(n, kv_heads, triton.cdiv(group * width, tile.ranks))](
        query, *prompts, *rows, visible, cache.source, cache.length, cache.step, output,
        *query.stride()[:3], *prompts[0].stride()[:3], *rows[0].stride()[:3], *visible.stride()[:2],
        scaling, cache.limit,
        WIDTH=width, GROUP=group, SIZE=size, BLOCK_M=tile.ranks, BLOCK_N=tile.rows, BLOCK_D=tile.columns,
        IEEE=query.dtype == torch.float32, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return output
