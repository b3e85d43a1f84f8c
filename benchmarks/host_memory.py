"""Peak memory of a process that loads a base in 4 bits, on the host: what a machine of little RAM must have.

    python -m benchmarks.host_memory FOLDER            # as the recipes load it, onto the GPU where there is one
    python -m benchmarks.host_memory FOLDER --plain    # by transformers alone

The peak is the kernel's (VmHWM); beside it what the process had before, and what a thread saw of anonymous memory and
of mapped files, libraries among them.
"""

import argparse
import json
import re
import threading
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from dialsum_trl.models.base import load_base, quantization_config

NAMES = {"VmHWM": "peak", "VmRSS": "resident", "RssAnon": "anonymous", "RssFile": "files"}


def memory() -> dict[str, float]:
    """GiB of this process, by the names of `NAMES`."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE))
    return {name: int(found[key]) / 2**20 for key, name in NAMES.items()}


def measure(folder: str, plain: bool, dtype: str = "bfloat16") -> dict:
    """Loads the folder, in a process that has done nothing else."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.ones(1, device=device)
    before, highest, done = memory(), memory(), threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for name, gib in memory().items():
                highest[name] = max(highest[name], gib)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    if plain:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), device_map={"": device},
            quantization_config=quantization_config("4bit", dtype),
        )  # fmt: skip
    else:
        model = load_base(folder, dtype=dtype, device=device)
    seconds = time.monotonic() - started
    done.set()
    watcher.join()
    sizes = [file.stat().st_size / 2**30 for file in Path(folder).glob("*.safetensors")]
    figures = {
        "peak_gib": memory()["peak"], "before_gib": before["resident"], "anonymous_gib": highest["anonymous"],
        "files_gib": highest["files"], "checkpoint_gib": sum(sizes), "largest_shard_gib": max(sizes),
        "model_gib": model.get_memory_footprint() / 2**30, "seconds": seconds,
    }  # fmt: skip
    return {"device": device, **{name: round(value, 3) for name, value in figures.items()}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("folder")
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    print("HOST " + json.dumps(measure(args.folder, args.plain)), flush=True)
