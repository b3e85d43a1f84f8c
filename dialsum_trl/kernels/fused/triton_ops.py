"""`torch_ops` as Triton kernels: the same functions, arguments, shapes and dropout masks, documented there.

Tensors are bfloat16 or float16 on one GPU, with a contiguous last dimension.
"""

import torch
import triton

from dialsum_trl.kernels import tiles
from dialsum_trl.kernels.fused import torch_ops
from dialsum_trl.kernels.fused import triton_kernels as kernels

WARPS = (
    16  # that a processor gets of a kernel whose programs share a column's rows: their registers fit, and loads overlap
)


def _block(size: int) -> int:
    return triton.next_power_of_2(size)


def _row_warps(size: int) -> int:
    return 4 if size <= 2048 else 8


def _threshold(p: float) -> int:
    return round(p * 65536)


def _splits(device: torch.device, rows: int, column_blocks: int, tile: tiles.Tile) -> tuple[int, int]:
    """How many programs share the rows of one column block, and the rows of each: for about `WARPS` per processor."""
    wanted = round(WARPS / tile.warps * tiles.device_of(device).processors / column_blocks)
    splits = max(1, min(triton.cdiv(rows, tile.rows), wanted))
    rows_per_split = triton.cdiv(triton.cdiv(rows, splits), tile.rows) * tile.rows
    return triton.cdiv(rows, rows_per_split), rows_per_split


def rms_norm(hidden, weight, eps: float, extra: int = 0, residual=None):
    rows, size = hidden.shape
    wide = hidden.new_empty(rows, size + extra)
    rstd = torch.empty(rows, dtype=torch.float32, device=hidden.device)
    kernels.rms_norm_kernel[(rows,)](
        hidden, weight, hidden if residual is None else residual, wide, rstd, wide.stride(0), eps,
        H=size, BLOCK=_block(size), ADD=residual is not None, num_warps=_row_warps(size),
    )  # fmt: skip
    return wide, rstd


def rms_norm_backward(grad, hidden, weight, rstd, residual=None):
    rows, size = hidden.shape
    out = torch.empty_like(hidden)
    kernels.rms_norm_backward_kernel[(rows,)](
        grad, hidden, weight, rstd, hidden if residual is None else residual, out, grad.stride(0),
        H=size, BLOCK=_block(size), ADD=residual is not None, num_warps=_row_warps(size),
    )  # fmt: skip
    return out


def lora_down(wide, a, rank: int, scale: float, p: float, keys, source=None):
    rows, k = wide.shape[0], a[0].shape[1]
    low = wide.new_empty(rows, len(a) * rank)
    tile = tiles.lora_down(tiles.device_of(wide.device), len(a), rank)
    read = wide if source is None else source
    kernels.lora_down_kernel[(triton.cdiv(rows, tile.rows), rank // tile.ranks)](
        wide, read, tuple(a), low, wide.stride(0), read.stride(0), rows, k, a[0].shape[0], scale / (1 - p),
        _threshold(p), *keys, N=len(a), R=rank, RANKS=tile.ranks, EXTRA=wide.shape[1] - k, DROP=p > 0,
        COPY=source is not None, BT=tile.rows, BK=tile.columns, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return low


def lora_backward(
    grad_wide, x, norm, a, rank: int, scale: float, p: float, keys, out=None, low_only=False, residual=None
):
    rows, k = x.shape
    low = grad_wide if low_only else grad_wide[:, k:]
    rstd, weight = norm if norm is not None else (x, x)
    out = grad_wide if out is None else out
    tile = tiles.lora_backward(tiles.device_of(x.device), len(a), rank)
    column_blocks = triton.cdiv(k, tile.columns)
    splits, rows_per_split = _splits(x.device, rows, column_blocks, tile)
    partial = torch.empty(splits, len(a) * rank, k, dtype=torch.float32, device=x.device)
    grad = grad_wide
    for first_rank in range(0, rank, tile.ranks):
        kernels.lora_backward_kernel[(column_blocks, splits)](
            x, rstd, weight, low, tuple(a), grad, x if residual is None else residual, out, partial,
            x.stride(0), low.stride(0), grad.stride(0), out.stride(0),
            rows, k, a[0].shape[0], scale / (1 - p), _threshold(p), *keys, rows_per_split, first_rank,
            N=len(a), R=rank, RANKS=tile.ranks, NORM=norm is not None, INPUT_GRAD=not low_only,
            ADD=residual is not None and first_rank == 0, BT=tile.rows, BK=tile.columns, num_warps=tile.warps,
            num_stages=tile.stages,
        )  # fmt: skip
        grad = out
    return partial.sum(0)


def _lanes(dim: int, rotary: int) -> dict[str, int]:
    """Lanes of a rotated half and of the dimensions that do not rotate, as powers of two."""
    return {
        "D": dim,
        "ROTARY": rotary,
        "LANES": _block(max(rotary // 2, 16)),
        "REST": dim - rotary and _block(dim - rotary),
    }


def rope(qkv, cos, sin, heads, dim: int, qk_norm=None):
    return _rope(qkv, cos, sin, heads, dim, qk_norm, None)


def rope_into_cache(qkv, cos, sin, heads, dim: int, qk_norm, keys, values, rows, at):
    if cos.shape[1] < dim:  # the kernel writes what it rotates
        return torch_ops.write(rope(qkv, cos, sin, heads, dim, qk_norm), qkv, heads, dim, keys, values, rows, at)
    return _rope(qkv, cos, sin, heads, dim, qk_norm, (keys, values, rows, at))


def _rope(qkv, cos, sin, heads, dim: int, qk_norm, cache):
    nq, nk = heads
    out = qkv if qk_norm is None else qkv.new_empty(qkv.shape[0], (nq + nk) * dim)
    wq, wk, eps = qk_norm or (qkv, qkv, 0.0)
    keys, values, slots, at = cache or (qkv[None, None], qkv[None, None], qkv, qkv)
    kernels.rope_kernel[(qkv.shape[0],)](
        qkv, cos, sin, wq, wk, out, qkv.stride(0), out.stride(0), eps,
        keys, values, slots, at, *keys.stride()[:3], *values.stride()[:3],
        NQ=nq, NK=nk, **_lanes(dim, cos.shape[1]), NORM=qk_norm is not None, CACHE=cache is not None,
        HEADS=_block(nq + (2 if cache else 1) * nk), num_warps=4,
    )  # fmt: skip
    return out[:, : (nq + nk) * dim]


def rope_backward(dq, dk, dv, cos, sin, qkv, qk_norm=None):
    rows, nq, dim = dq.shape
    nk = dk.shape[1]
    dq, dk, dv = dq.contiguous(), dk.contiguous(), dv.contiguous()
    out = qkv.new_empty(rows, (nq + 2 * nk) * dim)
    wq, wk, eps = qk_norm or (qkv, qkv, 0.0)
    kernels.rope_backward_kernel[(rows,)](
        dq, dk, dv, cos, sin, qkv, wq, wk, out, qkv.stride(0), out.stride(0), eps,
        NQ=nq, NK=nk, **_lanes(dim, cos.shape[1]), NORM=qk_norm is not None, HEADS=_block(nq + 2 * nk), num_warps=4,
    )  # fmt: skip
    return out


def swiglu(gate_up, extra: int, gelu: bool = False):
    rows, size = gate_up.shape[0], gate_up.shape[1] // 2
    wide = gate_up.new_empty(rows, size + extra)
    kernels.swiglu_kernel[(rows, triton.cdiv(size, 2048))](
        gate_up, wide, wide.stride(0), size, GELU=gelu, BLOCK=2048, num_warps=8
    )
    return wide


def swiglu_backward(grad_wide, gate_up, a, rank: int, scale: float, p: float, keys, gelu: bool = False):
    rows, size = gate_up.shape[0], gate_up.shape[1] // 2
    tile = tiles.swiglu_backward(tiles.device_of(gate_up.device), rank)
    column_blocks = triton.cdiv(size, tile.columns)
    splits, rows_per_split = _splits(gate_up.device, rows, column_blocks, tile)
    partial = torch.empty(splits, rank, size, dtype=torch.float32, device=gate_up.device)
    kernels.swiglu_backward_kernel[(column_blocks, splits)](
        gate_up, grad_wide, a[0], partial, grad_wide.stride(0), rows, size, a[0].shape[0], scale / (1 - p),
        _threshold(p), keys[0], rows_per_split, GELU=gelu, R=rank, BT=tile.rows, BK=tile.columns,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return partial.sum(0)


def load_weight(out, row: int, k: int, base, state, b, adapter: int, rank: int) -> None:
    rows = b.shape[0]
    view = out[row : row + rows]
    if state is None:
        view[:, :k] = base
    packed, table, absmax, code, scale, offset = (b,) * 6
    nested = False
    if state is not None:
        nested = state.nested
        packed, table, absmax = base.view(torch.uint8), state.code, state.absmax
        if nested:
            code, scale, offset = state.state2.code, state.state2.absmax, state.offset
    block = 1024
    kernels.load_weight_kernel[(rows, triton.cdiv(k, block) if state is not None else 1)](
        packed, table, absmax, code, scale, offset, b, view, view.stride(0), k, b.shape[1], adapter * rank,
        NESTED=nested, BASE=state is not None, QUANT_BLOCK=state.blocksize if state is not None else 64,
        EXTRA=out.shape[1] - k, BLOCK=block, num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
