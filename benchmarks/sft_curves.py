"""Do both paths train the same? 50 steps side by side, and the first steps in float32 and bfloat16.

    python -m benchmarks.sft_curves            # CPU, the toy, minutes
    python -m benchmarks.sft_curves --smoke    # a few steps

Without dropout the losses of 50 steps of TRL's padded path and of the fast path are compared one by one. The second
part starts from B = 0 at the design's learning rate, 2e-5: plain bf16 layers add LoRA's small product to an output that
is already rounded, so the first updates are rounded away; fused layers sum both before they round, and follow float32.
"""

import argparse

from benchmarks.record import write_result
from benchmarks.sft_equality import load
from benchmarks.sft_speed import curves, make_rows
from benchmarks.shapes import TINY


def first_steps(half: bool, fused: bool, steps: int, documents: int) -> list[float]:
    """Losses of AdamW steps at 2e-5 on one pack of so many documents, from fresh adapters."""
    import torch

    from dialsum_trl.kernels.attention import register
    from dialsum_trl.kernels.fused.attach import attach
    from dialsum_trl.training.packing.packs import PackCollator

    dtype = torch.bfloat16 if half else torch.float32
    model = load(TINY / "llama", smoke=True, dropout=0.0, attention=register()).to(dtype).train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if fused:
        attach(model)
    batch = PackCollator(0)(list(make_rows(documents, 1700)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-5)
    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            logits = model(**inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), batch["labels"][0, 1:])
        losses.append(round(loss.item(), 5))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="few steps; writes no result file")
    args = parser.parse_args(argv)
    steps, few, documents = (3, 2, 1) if args.smoke else (50, 8, 8)
    found = curves(TINY / "llama", make_rows(8 * steps, 1700), steps, True, dropout=0.0, learning_rate=1e-3)
    rows = [{"variant": "padded and fast, float32, no dropout", "shape": "tiny llama", **found}]
    for half in (False, True):
        for fused in (False, True):
            name = f"first steps at 2e-5, {'fused' if fused else 'plain'} layers, {'bfloat16' if half else 'float32'}"
            rows.append({"variant": name, "shape": "tiny llama", "losses": first_steps(half, fused, few, documents)})
            print(rows[-1], flush=True)
    print(f"largest gap in {steps} steps: {found['largest_gap']:.6f}")
    if not args.smoke:
        print(f"written: {write_result('sft_curves', rows)}")
    return rows


if __name__ == "__main__":
    main()
