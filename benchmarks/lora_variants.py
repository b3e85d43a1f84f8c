"""Variants of LoRA on the fused layers: bf16 gradients of each adapter matrix against plain float32 layers of peft.

    python -m benchmarks.lora_variants           # one GPU, EXAONE-4.0-1.2B's widths, two layers: a minute or two
    python -m benchmarks.lora_variants --smoke   # CPU, toy shape, float32; writes no result file

A variant that the fused layers do not take is not here: its run says so and trains on peft's own (docs/recipes.md).
"""

import argparse
import tempfile

from benchmarks.record import write_result
from benchmarks.sft_equality import equality
from benchmarks.sft_speed import free_gpu, make_rows
from benchmarks.shapes import SMALL, build
from dialsum_trl.core.launcher import prepare_allocator

SHAPE = "exaone4_1b"
VARIANTS = {
    "LoRA": {},
    "rsLoRA": dict(use_rslora=True),
    "orthogonal": dict(init_lora_weights="orthogonal"),
    "PiSSA": dict(init_lora_weights="pissa", quantization="none"),
    "OLoRA with rsLoRA": dict(init_lora_weights="olora", use_rslora=True, quantization="none"),
    "ranks of whole groups": dict(rank_pattern={"gate_proj": 8, "up_proj": 8, "down_proj": 64}),
    "alphas of single layers": dict(alpha_pattern={"o_proj": 4, "down_proj": 128}),
    "all linear layers": dict(lora_target_modules=["all-linear"]),
}


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args(argv).smoke
    prepare_allocator()
    changed = (SMALL if smoke else {}) | dict(num_hidden_layers=2)
    rows, results = make_rows(32, 2200 if smoke else 100000), []
    with tempfile.TemporaryDirectory() as folder:
        path = build(SHAPE, folder, "float32" if smoke else "bfloat16", **changed)
        for variant, flags in VARIANTS.items():
            results.append({"variant": variant, "shape": SHAPE, **equality(path, rows, smoke, **flags)})
            print(variant, results[-1]["ours_against_float32"], flush=True)
            free_gpu()
    if not smoke:
        write_result("lora_variants", results)
    return results


if __name__ == "__main__":
    main()
