"""Runs a command on this GPU as on a smaller or older card.

    python -m benchmarks.as_card --gib 14.5 --capability 7.5 recipes/sft_llama3b.py --train_file data/train.csv ...

The memory is limited by `set_per_process_memory_fraction` to `--gib` less CUDA's context. With a capability before 8.0
FlashAttention and cuDNN's attention are off, bfloat16 is none of the card's, and kernels take its tiles.
At the end a JSON line has the peak of what torch's allocator reserved, what the process holds beside it (its context,
cuBLAS and kernels) as nvidia-smi reports it, and the peak of its memory on the host.
"""

import argparse
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.host_memory import memory
from dialsum_trl.core.cards import CONTEXT_GIB, Device

GIB = 2**30
KIB = 1024
# Bytes of shared memory that a block may have (CUDA Programming Guide, "Compute Capabilities")
SHARED = {
    (7, 0): 96 * KIB, (7, 5): 64 * KIB, (8, 0): 163 * KIB, (8, 6): 99 * KIB, (8, 7): 163 * KIB, (8, 9): 99 * KIB,
    (9, 0): 227 * KIB, (10, 0): 227 * KIB, (10, 3): 227 * KIB, (12, 0): 99 * KIB, (12, 1): 99 * KIB,
}  # fmt: skip


def become(capability: tuple[int, int] | None, gib: float | None) -> None:
    """Makes this process see such a card."""
    if capability is not None:
        from dialsum_trl.kernels import tiles

        processors = torch.cuda.get_device_properties(0).multi_processor_count
        device = Device(capability, processors, SHARED[capability])
        tiles.device_of = lambda _: device
        from triton.runtime.driver import driver

        target = driver.active.get_current_target()  # Triton asks torch for the capability too
        driver.active.get_current_target = lambda: target
        torch.cuda.get_device_capability = lambda device=None: capability
        if capability < (8, 0):
            torch.backends.cuda.enable_flash_sdp(False)
            torch.backends.cuda.enable_cudnn_sdp(False)
    if gib is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        limit = (gib - CONTEXT_GIB) * GIB
        torch.cuda.set_per_process_memory_fraction(limit / total)
        torch.cuda.mem_get_info = lambda device=None: (int(limit - torch.cuda.memory_reserved()), int(gib * GIB))


def figures(gib: float | None) -> dict:
    """Of this process, at its end."""
    found = {"host_peak_gib": round(memory()["peak"], 2)}
    if not torch.cuda.is_available():
        return found
    peak = torch.cuda.max_memory_reserved() / GIB
    found["peak_reserved_gib"] = round(peak, 2)
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    for pid, mib in (line.split(", ") for line in lines):
        if int(pid) == os.getpid():  # some drivers list no processes
            beside = float(mib) / 1024 - torch.cuda.memory_reserved() / GIB
            found |= {"beside_gib": round(beside, 2), "peak_gib": round(peak + beside, 2)}
            found["within"] = gib is None or peak + beside <= gib
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--gib", type=float)
    parser.add_argument("--capability", type=lambda text: tuple(map(int, text.split("."))))
    parser.add_argument("script", help="a file, or a module of benchmarks as benchmarks.name")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if torch.cuda.is_available():
        become(args.capability, args.gib)
    sys.argv = [args.script, *args.arguments]
    try:
        if Path(args.script).suffix == ".py":
            sys.path.insert(0, str(Path(args.script).resolve().parents[1]))
            runpy.run_path(args.script, run_name="__main__")
        else:
            runpy.run_module(args.script, run_name="__main__", alter_sys=True)
    finally:
        print("AS_CARD " + json.dumps(figures(args.gib)), flush=True)


if __name__ == "__main__":
    main()
