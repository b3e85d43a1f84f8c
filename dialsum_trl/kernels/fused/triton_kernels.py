"""The Triton kernels of `triton_ops`: float32 inside, rounded where the eager modules round the large tensors."""

import triton
import triton.language as tl


@triton.jit
def _hash(index, key):
    x = index.to(tl.uint32) ^ key.to(tl.uint32)
    x = x ^ (x >> 16)
    x = x * 0x21F0AAAD
    x = x ^ (x >> 15)
    x = x * 0xD35A2D97
    return x ^ (x >> 15)


@triton.jit
def rms_norm_kernel(hidden, weight, out, rstd_out, ld_out, eps, H: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < H
    x = tl.load(hidden + row * H + cols, mask=mask, other=0.0)
    wide = x.to(tl.float32)
    rstd = tl.rsqrt(tl.sum(wide * wide, 0) / H + eps)
    normed = (wide * rstd).to(x.dtype).to(tl.float32)
    y = normed * tl.load(weight + cols, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row * ld_out + cols, y.to(x.dtype), mask=mask)
    tl.store(rstd_out + row, rstd)


@triton.jit
def rms_norm_backward_kernel(
    grad, hidden, weight, rstd_in, residual, out, ld_grad, H: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < H
    x = tl.load(hidden + row * H + cols, mask=mask, other=0.0)
    rstd = tl.load(rstd_in + row)
    normed = x.to(tl.float32) * rstd
    weighted = tl.load(grad + row * ld_grad + cols, mask=mask, other=0.0).to(tl.float32)
    weighted = weighted * tl.load(weight + cols, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(weighted * normed, 0) / H
    y = tl.load(residual + row * H + cols, mask=mask, other=0.0).to(tl.float32) + rstd * (weighted - normed * mean)
    tl.store(out + row * H + cols, y.to(x.dtype), mask=mask)


@triton.jit
def _low_rank(x, a, cols, ri, K, r):
    matrix = tl.load(a + ri[:, None] * K + cols[None, :], mask=(ri < r)[:, None] & (cols < K)[None, :], other=0.0)
    return tl.dot(x, tl.trans(matrix.to(x.dtype)))


@triton.jit
def _keep(bits0, bits1, adapter: tl.constexpr, threshold):
    """The elements that dropout keeps for an adapter: two of them share a hash, one half each."""
    if adapter == 0:
        half = bits0 & 0xFFFF
    elif adapter == 1:
        half = bits0 >> 16
    else:
        half = bits1 & 0xFFFF
    return half >= threshold


@triton.jit(do_not_specialize=["T", "key0", "key1"])
def lora_down_kernel(
    x, a, low, ld_x, T, K, r, scale, threshold, key0, key1,
    N: tl.constexpr, R: tl.constexpr, EXTRA: tl.constexpr, DROP: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BT + tl.arange(0, BT)
    row_mask = (rows < T)[:, None]
    x_rows = x + rows.to(tl.int64)[:, None] * ld_x
    ri = tl.arange(0, R)
    acc = (tl.zeros((BT, R), tl.float32),) * N
    for start in range(0, K, BK):
        cols = start + tl.arange(0, BK)
        tile = tl.load(x_rows + cols[None, :], mask=row_mask & (cols < K)[None, :], other=0.0)
        index = rows[:, None] * K + cols[None, :]
        bits0, bits1 = _hash(index, key0), _hash(index, key1)
        total = ()
        for j in tl.static_range(N):
            kept = tile
            if DROP:
                kept = tl.where(_keep(bits0, bits1, j, threshold), tile, 0.0)
            total += (acc[j] + _low_rank(kept, a[j], cols, ri, K, r),)
        acc = total
    low_rows = low + rows.to(tl.int64)[:, None] * (N * R) + ri[None, :]
    wide_rows = x_rows + K + ri[None, :]
    for j in tl.static_range(N):
        value = (acc[j] * scale).to(x.dtype.element_ty)
        tl.store(low_rows + j * R, value, mask=row_mask)
        tl.store(wide_rows + j * R, value, mask=row_mask)
    pad = tl.arange(0, EXTRA)
    zeros = tl.zeros((BT, EXTRA), tl.float32).to(x.dtype.element_ty)
    tl.store(x_rows + K + pad[None, :], zeros, mask=row_mask & (pad >= N * R)[None, :])


@triton.jit
def _one_adapter(tile, keep, low, matrix):
    """(gradient of A, gradient of the tile) of one adapter, float32."""
    kept = tl.where(keep, tile, 0.0)
    grad_a = tl.dot(tl.trans(low), kept)
    grad_x = tl.where(keep, tl.dot(low, matrix), 0.0)
    return grad_a, grad_x


@triton.jit(do_not_specialize=["T", "key0", "key1", "rows_per_split"])
def lora_backward_kernel(
    x, rstd_in, weight, low, a, grad, out, partial, ld_x, ld_low, ld_grad, ld_out, T, K, r, scale, threshold,
    key0, key1, rows_per_split,
    N: tl.constexpr, R: tl.constexpr, NORM: tl.constexpr, INPUT_GRAD: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    cols = tl.program_id(0) * BK + tl.arange(0, BK)
    col_mask = (cols < K)[None, :]
    split = tl.program_id(1)
    ri = tl.arange(0, R)
    dtype = x.dtype.element_ty
    a_offsets = ri[:, None] * K + cols[None, :]
    matrices = ()
    for j in tl.static_range(N):
        matrices += (tl.load(a[j] + a_offsets, mask=(ri < r)[:, None] & col_mask, other=0.0).to(dtype),)
    if NORM:
        w = tl.load(weight + cols, mask=cols < K, other=0.0).to(tl.float32)[None, :]
    sums = (tl.zeros((R, BK), tl.float32),) * N
    first = split * rows_per_split
    last = tl.minimum(first + rows_per_split, T)
    for start in range(first, last, BT):
        rows = start + tl.arange(0, BT)
        row_mask = (rows < last)[:, None]
        mask = row_mask & col_mask
        long_rows = rows.to(tl.int64)[:, None]
        tile = tl.load(x + long_rows * ld_x + cols[None, :], mask=mask, other=0.0)
        if NORM:
            rstd = tl.load(rstd_in + rows, mask=rows < last, other=0.0)[:, None]
            tile = ((tile.to(tl.float32) * rstd).to(dtype).to(tl.float32) * w).to(dtype)
        low_rows = low + long_rows * ld_low + ri[None, :]
        index = rows[:, None] * K + cols[None, :]
        bits0, bits1 = _hash(index, key0), _hash(index, key1)
        added = ()
        for j in tl.static_range(N):
            d = tl.load(low_rows + j * R, mask=row_mask, other=0.0)
            grad_a, more = _one_adapter(tile, _keep(bits0, bits1, j, threshold), d, matrices[j])
            added += (sums[j] + grad_a,)
            if j == 0:
                grad_x = more
            else:
                grad_x += more
        sums = added
        if INPUT_GRAD:
            total = tl.load(grad + long_rows * ld_grad + cols[None, :], mask=mask, other=0.0).to(tl.float32)
            total += grad_x * scale
            tl.store(out + long_rows * ld_out + cols[None, :], total.to(dtype), mask=mask)
    partial += split.to(tl.int64) * (N * R) * K + ri[:, None] * K + cols[None, :]
    for j in tl.static_range(N):
        tl.store(partial + j * R * K, sums[j] * scale, mask=col_mask)


@triton.jit
def swiglu_kernel(gate_up, out, ld_out, F, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < F
    gate = tl.load(gate_up + row * 2 * F + cols, mask=mask, other=0.0)
    up = tl.load(gate_up + row * 2 * F + F + cols, mask=mask, other=0.0)
    wide = gate.to(tl.float32)
    silu = (wide * tl.sigmoid(wide)).to(gate.dtype).to(tl.float32)
    tl.store(out + row * ld_out + cols, (silu * up.to(tl.float32)).to(gate.dtype), mask=mask)


@triton.jit(do_not_specialize=["T", "key0", "rows_per_split"])
def swiglu_backward_kernel(
    gate_up, grad, a, partial, ld_grad, T, F, r, scale, threshold, key0, rows_per_split,
    R: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    cols = tl.program_id(0) * BK + tl.arange(0, BK)
    col_mask = (cols < F)[None, :]
    split = tl.program_id(1)
    ri = tl.arange(0, R)
    dtype = gate_up.dtype.element_ty
    matrix = tl.load(a + ri[:, None] * F + cols[None, :], mask=(ri < r)[:, None] & col_mask, other=0.0).to(dtype)
    total = tl.zeros((R, BK), tl.float32)
    first = split * rows_per_split
    last = tl.minimum(first + rows_per_split, T)
    for start in range(first, last, BT):
        rows = start + tl.arange(0, BT)
        row_mask = (rows < last)[:, None]
        mask = row_mask & col_mask
        long_rows = rows.to(tl.int64)[:, None]
        gate_ptr = gate_up + long_rows * 2 * F + cols[None, :]
        gate = tl.load(gate_ptr, mask=mask, other=0.0).to(tl.float32)
        up = tl.load(gate_ptr + F, mask=mask, other=0.0).to(tl.float32)
        sigmoid = tl.sigmoid(gate)
        silu = gate * sigmoid
        product = (silu.to(dtype).to(tl.float32) * up).to(dtype)
        low = tl.load(grad + long_rows * ld_grad + F + ri[None, :], mask=row_mask, other=0.0)
        keep = (_hash(rows[:, None] * F + cols[None, :], key0) & 0xFFFF) >= threshold
        grad_a, grad_x = _one_adapter(product, keep, low, matrix)
        total += grad_a
        d = tl.load(grad + long_rows * ld_grad + cols[None, :], mask=mask, other=0.0).to(tl.float32)
        d += grad_x * scale
        tl.store(gate_ptr, (d * up * (sigmoid * (1 + gate * (1 - sigmoid)))).to(dtype), mask=mask)
        tl.store(gate_ptr + F, (d * silu).to(dtype), mask=mask)
    partial += split.to(tl.int64) * R * F + ri[:, None] * F + cols[None, :]
    tl.store(partial, total * scale, mask=col_mask)


@triton.jit
def rope_kernel(
    qkv, cos, sin, wq, wk, out, ld_in, ld_out, eps,
    NQ: tl.constexpr, NK: tl.constexpr, D: tl.constexpr, NORM: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    half: tl.constexpr = D // 2
    heads = tl.arange(0, HEADS)[:, None]
    lane = tl.arange(0, half)[None, :]
    mask = heads < NQ + NK
    dtype = qkv.dtype.element_ty
    offsets = heads * D + lane
    x1 = tl.load(qkv + row * ld_in + offsets, mask=mask, other=0.0).to(tl.float32)
    x2 = tl.load(qkv + row * ld_in + offsets + half, mask=mask, other=0.0).to(tl.float32)
    if NORM:
        rstd = tl.rsqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / D + eps)[:, None]
        is_query = heads < NQ
        w1 = tl.where(is_query, tl.load(wq + lane), tl.load(wk + lane)).to(tl.float32)
        w2 = tl.where(is_query, tl.load(wq + lane + half), tl.load(wk + lane + half)).to(tl.float32)
        x1 = ((x1 * rstd).to(dtype).to(tl.float32) * w1).to(dtype).to(tl.float32)
        x2 = ((x2 * rstd).to(dtype).to(tl.float32) * w2).to(dtype).to(tl.float32)
    c = tl.load(cos + row * D + lane).to(tl.float32)
    s = tl.load(sin + row * D + lane).to(tl.float32)
    tl.store(out + row * ld_out + offsets, (x1 * c - x2 * s).to(dtype), mask=mask)
    tl.store(out + row * ld_out + offsets + half, (x2 * c + x1 * s).to(dtype), mask=mask)


@triton.jit
def rope_backward_kernel(
    dq, dk, dv, cos, sin, qkv, wq, wk, out, ld_in, ld_out, eps,
    NQ: tl.constexpr, NK: tl.constexpr, D: tl.constexpr, NORM: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    half: tl.constexpr = D // 2
    heads = tl.arange(0, HEADS)[:, None]
    lane = tl.arange(0, half)[None, :]
    is_query = heads < NQ
    is_key = (heads >= NQ) & (heads < NQ + NK)
    is_value = (heads >= NQ + NK) & (heads < NQ + 2 * NK)
    q_ptr = dq + row * NQ * D + heads * D + lane
    k_ptr = dk + row * NK * D + (heads - NQ) * D + lane
    v_ptr = dv + row * NK * D + (heads - NQ - NK) * D + lane
    dtype = out.dtype.element_ty
    d1 = tl.load(q_ptr, mask=is_query, other=0.0).to(tl.float32)
    d1 += tl.load(k_ptr, mask=is_key, other=0.0).to(tl.float32)
    d2 = tl.load(q_ptr + half, mask=is_query, other=0.0).to(tl.float32)
    d2 += tl.load(k_ptr + half, mask=is_key, other=0.0).to(tl.float32)
    c = tl.load(cos + row * D + lane).to(tl.float32)
    s = tl.load(sin + row * D + lane).to(tl.float32)
    g1 = d1 * c + d2 * s
    g2 = d2 * c - d1 * s
    offsets = heads * D + lane
    if NORM:
        g1 = g1.to(dtype).to(tl.float32)
        g2 = g2.to(dtype).to(tl.float32)
        mask = is_query | is_key
        x1 = tl.load(qkv + row * ld_in + offsets, mask=mask, other=0.0).to(tl.float32)
        x2 = tl.load(qkv + row * ld_in + offsets + half, mask=mask, other=0.0).to(tl.float32)
        rstd = tl.rsqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / D + eps)[:, None]
        g1 *= tl.where(is_query, tl.load(wq + lane), tl.load(wk + lane)).to(tl.float32)
        g2 *= tl.where(is_query, tl.load(wq + lane + half), tl.load(wk + lane + half)).to(tl.float32)
        x1 *= rstd
        x2 *= rstd
        mean = ((tl.sum(g1 * x1, 1) + tl.sum(g2 * x2, 1)) / D)[:, None]
        g1 = rstd * (g1 - x1 * mean)
        g2 = rstd * (g2 - x2 * mean)
    g1 = tl.where(is_value, tl.load(v_ptr, mask=is_value, other=0.0).to(tl.float32), g1)
    g2 = tl.where(is_value, tl.load(v_ptr + half, mask=is_value, other=0.0).to(tl.float32), g2)
    mask = heads < NQ + 2 * NK
    tl.store(out + row * ld_out + offsets, g1.to(dtype), mask=mask)
    tl.store(out + row * ld_out + offsets + half, g2.to(dtype), mask=mask)


@triton.jit
def load_weight_kernel(
    packed, table, absmax, absmax_code, absmax_scale, absmax_offset, b, out, ld_out, K, r, first_column,
    NESTED: tl.constexpr, BASE: tl.constexpr, QUANT_BLOCK: tl.constexpr, EXTRA: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    dtype = out.dtype.element_ty
    if BASE:
        cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        mask = cols < K
        index = row * K + cols
        byte = tl.load(packed + index // 2, mask=mask, other=0).to(tl.int32)
        value = tl.load(table + tl.where(cols % 2 == 0, byte >> 4, byte & 15))
        block = index // QUANT_BLOCK
        if NESTED:
            code = tl.load(absmax + block, mask=mask, other=0).to(tl.int32)
            biggest = tl.load(absmax_code + code) * tl.load(absmax_scale + block // 256, mask=mask, other=0.0)
            biggest += tl.load(absmax_offset)
        else:
            biggest = tl.load(absmax + block, mask=mask, other=0.0)
        tl.store(out + row * ld_out + cols, (value * biggest).to(dtype), mask=mask)
    if tl.program_id(1) == 0:
        extra = tl.arange(0, EXTRA)
        lane = extra - first_column
        mine = (lane >= 0) & (lane < r)
        values = tl.load(b + row * r + lane, mask=mine, other=0.0)
        tl.store(out + row * ld_out + K + extra, values.to(dtype))
