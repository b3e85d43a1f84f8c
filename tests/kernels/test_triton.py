"""Triton's kernels in its interpreter against their specification: it takes no GPU, only few rows."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, torch
from dialsum_trl.core.cards import Device
from dialsum_trl.kernels import tiles
from dialsum_trl.kernels.fused import torch_ops, triton_ops

tiles.device_of = lambda device: Device((9, 0), 2, 227 * 1024)
torch.manual_seed(0)
rows, k, keys, found = 72, 160, (17, 23), []
for rank, count in ((4, 1), (4, 3), (128, 1)):
    padded = max(16, tiles.power_of_two(rank))
    extra = max(64, tiles.power_of_two(count * padded))
    a = [torch.randn(rank, k) / 12 for _ in range(count)]
    x, residual = torch.randn(2, rows, k).half()
    wide_grad, gates = torch.randn(rows, k + extra).half(), torch.randn(rows, 2 * k).half()
    for j in range(count):  # no gradient reaches the ranks that only pad
        wide_grad[:, k + j * padded + rank : k + (j + 1) * padded] = 0
    sides = []
    for ops in (triton_ops, torch_ops):
        wide, out, grad, gated = torch.full((rows, k + extra), torch.nan).half(), x + 0, wide_grad + 0, gates + 0
        settings = a, padded, 2.0, 0.1, keys
        side = [ops.lora_down(wide, *settings, source=x), wide, ops.lora_down(wide, *settings)]
        side += [ops.lora_backward(grad, x, None, *settings, out=out, residual=residual), out]
        side += [ops.lora_backward(grad, x, None, *settings), grad[:, :k]]
        if count == 1:
            side += [ops.swiglu_backward(wide_grad + 0, gated, *settings), gated]
        sides.append(side)
    pairs = [(a.float(), b.float()) for a, b in zip(*sides, strict=True)]
    found.append(max(float((a - b).norm() / b.norm()) for a, b in pairs))
print(json.dumps(found))
"""


@pytest.mark.slow  # the interpreter runs one program after the other
def test_low_rank_kernels_with_copies_and_residuals_are_their_specification():
    pytest.importorskip("triton")  # Linux only
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert max(json.loads(done.stdout.splitlines()[-1])) < 1e-3
