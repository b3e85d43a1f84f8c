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
def rms_norm_kernel(
    hidden, weight, residual, out, rstd_out, ld_out, eps, H: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < H
    x = tl.load(hidden + row * H + cols, mask=mask, other=0.0)
    wide = x.to(tl.float32)
    rstd = tl.rsqrt(tl.sum(wide * wide, 0) / H + eps)
    normed = (wide * rstd).to(x.dtype).to(tl.float32)
    y = (normed * tl.load(weight + cols, mask=mask, other=0.0).to(tl.float32)).to(x.dtype)
    if ADD:
        y = (y.to(tl.float32) + tl.load(residual + row * H + cols, mask=mask, other=0.0).to(tl.float32)).to(x.dtype)
    tl.store(out + row * ld_out + cols, y, mask=mask)
    tl.store(rstd_out + row, rstd)


@triton.jit
def rms_norm_backward_kernel(
    grad, hidden, weight, rstd_in, residual, out, ld_grad, H: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr
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
    y = rstd * (weighted - normed * mean)
    if ADD:
        y += tl.load(residual + row * H + cols, mask=mask, other=0.0).to(tl.float32)
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
    x, source, a, low, ld_x, ld_source, T, K, r, scale, threshold, key0, key1,
    N: tl.constexpr, R: tl.constexpr, RANKS: tl.constexpr, EXTRA: tl.constexpr, DROP: tl.constexpr, COPY: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BT + tl.arange(0, BT)
    row_mask = (rows < T)[:, None]
    x_rows = x + rows.to(tl.int64)[:, None] * ld_x
    source_rows = source + rows.to(tl.int64)[:, None] * ld_source
    ri = tl.program_id(1) * RANKS + tl.arange(0, RANKS)
    acc = (tl.zeros((BT, RANKS), tl.float32),) * N
    for start in range(0, K, BK):
        cols = start + tl.arange(0, BK)
        tile = tl.load(source_rows + cols[None, :], mask=row_mask & (cols < K)[None, :], other=0.0)
        if COPY and tl.program_id(1) == 0:
            tl.store(x_rows + cols[None, :], tile, mask=row_mask & (cols < K)[None, :])
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
    if tl.program_id(1) == 0:
        zeros = tl.zeros((BT, 16), tl.float32).to(x.dtype.element_ty)
        for start in range(N * R, EXTRA, 16):
            tl.store(x_rows + K + start + tl.arange(0, 16)[None, :], zeros, mask=row_mask)


@triton.jit
def _one_adapter(tile, keep, low, matrix):
    """(gradient of A, gradient of the tile) of one adapter, float32."""
    kept = tl.where(keep, tile, 0.0)
    grad_a = tl.dot(tl.trans(low), kept)
    grad_x = tl.where(keep, tl.dot(low, matrix), 0.0)
    return grad_a, grad_x


@triton.jit(do_not_specialize=["T", "key0", "key1", "rows_per_split"])
def lora_backward_kernel(
    x, rstd_in, weight, low, a, grad, residual, out, partial, ld_x, ld_low, ld_grad, ld_out, T, K, r, scale, threshold,
    key0, key1, rows_per_split, first_rank,
    N: tl.constexpr, R: tl.constexpr, RANKS: tl.constexpr, NORM: tl.constexpr, INPUT_GRAD: tl.constexpr,
    ADD: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    cols = tl.program_id(0) * BK + tl.arange(0, BK)
    col_mask = (cols < K)[None, :]
    split = tl.program_id(1)
    ri = first_rank + tl.arange(0, RANKS)
    dtype = x.dtype.element_ty
    a_offsets = ri[:, None] * K + cols[None, :]
    matrices = ()
    for j in tl.static_range(N):
        matrices += (tl.load(a[j] + a_offsets, mask=(ri < r)[:, None] & col_mask, other=0.0).to(dtype),)
    if NORM:
        w = tl.load(weight + cols, mask=cols < K, other=0.0).to(tl.float32)[None, :]
    sums = (tl.zeros((RANKS, BK), tl.float32),) * N
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
            if ADD:
                total += tl.load(residual + long_rows * K + cols[None, :], mask=mask, other=0.0).to(tl.float32)
            tl.store(out + long_rows * ld_out + cols[None, :], total.to(dtype), mask=mask)
    partial += split.to(tl.int64) * (N * R) * K + ri[:, None] * K + cols[None, :]
    for j in tl.static_range(N):
        tl.store(partial + j * R * K, sums[j] * scale, mask=col_mask)


@triton.jit
def _gate(x, GELU: tl.constexpr):
    """(sigmoid(z), dz/dx): the activation is x * sigmoid(z), with z = x for SiLU and as below for GELU by tanh."""
    if GELU:
        z = 1.5957691216057308 * x * (1 + 0.044715 * x * x)
        slope = 1.5957691216057308 * (1 + 0.134145 * x * x)
    else:
        z = x
        slope = 1.0
    return tl.sigmoid(z), slope


@triton.jit
def swiglu_kernel(gate_up, out, ld_out, F, GELU: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < F
    gate = tl.load(gate_up + row * 2 * F + cols, mask=mask, other=0.0)
    up = tl.load(gate_up + row * 2 * F + F + cols, mask=mask, other=0.0)
    wide = gate.to(tl.float32)
    sigmoid, _ = _gate(wide, GELU)
    active = (wide * sigmoid).to(gate.dtype).to(tl.float32)
    tl.store(out + row * ld_out + cols, (active * up.to(tl.float32)).to(gate.dtype), mask=mask)


@triton.jit(do_not_specialize=["T", "key0", "rows_per_split"])
def swiglu_backward_kernel(
    gate_up, grad, a, partial, ld_grad, T, F, r, scale, threshold, key0, rows_per_split,
    GELU: tl.constexpr, R: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
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
        sigmoid, slope = _gate(gate, GELU)
        active = gate * sigmoid
        product = (active.to(dtype).to(tl.float32) * up).to(dtype)
        low = tl.load(grad + long_rows * ld_grad + F + ri[None, :], mask=row_mask, other=0.0)
        keep = (_hash(rows[:, None] * F + cols[None, :], key0) & 0xFFFF) >= threshold
        grad_a, grad_x = _one_adapter(product, keep, low, matrix)
        total += grad_a
        d = tl.load(grad + long_rows * ld_grad + cols[None, :], mask=mask, other=0.0).to(tl.float32)
        d += grad_x * scale
        tl.store(gate_ptr, (d * up * (sigmoid + active * (1 - sigmoid) * slope)).to(dtype), mask=mask)
        tl.store(gate_ptr + F, (d * active).to(dtype), mask=mask)
    partial += split.to(tl.int64) * R * F + ri[:, None] * F + cols[None, :]
    tl.store(partial, total * scale, mask=col_mask)


@triton.jit
def _heads(base, offsets, mask):
    return tl.load(base + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _head_weight(wq, wk, is_query, lane, mask):
    """The norm's weight of each head's kind."""
    return tl.where(is_query, _heads(wq, lane, mask), _heads(wk, lane, mask))


@triton.jit
def _rounded(x, weight, dtype):
    return (x.to(dtype).to(tl.float32) * weight).to(dtype).to(tl.float32)


@triton.jit
def rope_kernel(
    qkv, cos, sin, wq, wk, out, ld_in, ld_out, eps,
    keys, values, slots, at, k_row, k_head, k_entry, v_row, v_head, v_entry,
    NQ: tl.constexpr, NK: tl.constexpr, D: tl.constexpr, ROTARY: tl.constexpr, NORM: tl.constexpr, CACHE: tl.constexpr,
    HEADS: tl.constexpr, LANES: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    half: tl.constexpr = ROTARY // 2
    heads = tl.arange(0, HEADS)[:, None]
    lane = tl.arange(0, LANES)[None, :]
    rotated = lane < half
    mask = (heads < NQ + NK) & rotated
    dtype = qkv.dtype.element_ty
    qkv += row * ld_in
    out += row * ld_out
    offsets = heads * D + lane
    x1 = _heads(qkv, offsets, mask)
    x2 = _heads(qkv, offsets + half, mask)
    if NORM:
        is_query = heads < NQ
        squares = tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)
        if REST > 0:
            tail = ROTARY + tl.arange(0, REST)[None, :]
            tail_mask = (heads < NQ + NK) & (tail < D)
            x3 = _heads(qkv, heads * D + tail, tail_mask)
            squares += tl.sum(x3 * x3, 1)
        rstd = tl.rsqrt(squares / D + eps)[:, None]
        x1 = _rounded(x1 * rstd, _head_weight(wq, wk, is_query, lane, rotated), dtype)
        x2 = _rounded(x2 * rstd, _head_weight(wq, wk, is_query, lane + half, rotated), dtype)
        if REST > 0:
            x3 = _rounded(x3 * rstd, _head_weight(wq, wk, is_query, tail, tail < D), dtype)
            tl.store(out + heads * D + tail, x3.to(dtype), mask=tail_mask)
    c = _heads(cos + row * ROTARY, lane, rotated)
    s = _heads(sin + row * ROTARY, lane, rotated)
    first = (x1 * c - x2 * s).to(dtype)
    second = (x2 * c + x1 * s).to(dtype)
    tl.store(out + offsets, first, mask=mask)
    tl.store(out + offsets + half, second, mask=mask)
    if CACHE:
        slot, entry = tl.load(slots + row), tl.load(at + row)
        is_key = (heads >= NQ) & mask
        key_at = keys + slot * k_row + entry * k_entry + (heads - NQ) * k_head + lane
        tl.store(key_at, first, mask=is_key)
        tl.store(key_at + half, second, mask=is_key)
        is_value = (heads >= NQ + NK) & (heads < NQ + 2 * NK) & rotated
        value_at = values + slot * v_row + entry * v_entry + (heads - NQ - NK) * v_head + lane
        tl.store(value_at, tl.load(qkv + offsets, mask=is_value, other=0.0), mask=is_value)
        tl.store(value_at + half, tl.load(qkv + offsets + half, mask=is_value, other=0.0), mask=is_value)


@triton.jit
def rope_backward_kernel(
    dq, dk, dv, cos, sin, qkv, wq, wk, out, ld_in, ld_out, eps,
    NQ: tl.constexpr, NK: tl.constexpr, D: tl.constexpr, ROTARY: tl.constexpr, NORM: tl.constexpr,
    HEADS: tl.constexpr, LANES: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    half: tl.constexpr = ROTARY // 2
    heads = tl.arange(0, HEADS)[:, None]
    lane = tl.arange(0, LANES)[None, :]
    rotated = lane < half
    is_query = heads < NQ
    is_key = (heads >= NQ) & (heads < NQ + NK)
    is_value = (heads >= NQ + NK) & (heads < NQ + 2 * NK)
    is_head = heads < NQ + 2 * NK
    dq += row * NQ * D + heads * D
    dk += row * NK * D + (heads - NQ) * D
    dv += row * NK * D + (heads - NQ - NK) * D
    qkv += row * ld_in + heads * D
    out += row * ld_out + heads * D
    dtype = out.dtype.element_ty
    d1 = _heads(dq, lane, is_query & rotated) + _heads(dk, lane, is_key & rotated)
    d2 = _heads(dq, lane + half, is_query & rotated) + _heads(dk, lane + half, is_key & rotated)
    c = _heads(cos + row * ROTARY, lane, rotated)
    s = _heads(sin + row * ROTARY, lane, rotated)
    g1 = d1 * c + d2 * s
    g2 = d2 * c - d1 * s
    if REST > 0:
        tail = ROTARY + tl.arange(0, REST)[None, :]
        within = tail < D
        g3 = _heads(dq, tail, is_query & within) + _heads(dk, tail, is_key & within)
    if NORM:
        g1 = g1.to(dtype).to(tl.float32)
        g2 = g2.to(dtype).to(tl.float32)
        mask = (is_query | is_key) & rotated
        x1 = _heads(qkv, lane, mask)
        x2 = _heads(qkv, lane + half, mask)
        g1 *= _head_weight(wq, wk, is_query, lane, rotated)
        g2 *= _head_weight(wq, wk, is_query, lane + half, rotated)
        squares = tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)
        products = tl.sum(g1 * x1, 1) + tl.sum(g2 * x2, 1)
        if REST > 0:
            x3 = _heads(qkv, tail, (is_query | is_key) & within)
            g3 *= _head_weight(wq, wk, is_query, tail, within)
            squares += tl.sum(x3 * x3, 1)
            products += tl.sum(g3 * x3, 1)
        rstd = tl.rsqrt(squares / D + eps)[:, None]
        mean = (products / D)[:, None] * rstd * rstd
        g1 = rstd * (g1 - x1 * mean)
        g2 = rstd * (g2 - x2 * mean)
        if REST > 0:
            g3 = rstd * (g3 - x3 * mean)
    g1 = tl.where(is_value, _heads(dv, lane, is_value & rotated), g1)
    g2 = tl.where(is_value, _heads(dv, lane + half, is_value & rotated), g2)
    tl.store(out + lane, g1.to(dtype), mask=is_head & rotated)
    tl.store(out + lane + half, g2.to(dtype), mask=is_head & rotated)
    if REST > 0:
        g3 = tl.where(is_value, _heads(dv, tail, is_value & within), g3)
        tl.store(out + tail, g3.to(dtype), mask=is_head & within)


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
