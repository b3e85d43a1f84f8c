"""New tokens per second: transformers' `generate` and ours, on random weights of a real shape.

    python -m benchmarks.generation_speed                    # one GPU, Llama-3.2-3B shape
    python -m benchmarks.generation_speed --shape qwen3_4b
    python -m benchmarks.generation_speed --ours             # without transformers: the cases of ours and a profile
    python -m benchmarks.generation_speed --smoke            # CPU, toy shape

499 prompts of real lengths, exactly 64 new tokens each (no stop token), tokenization not counted. transformers runs on
the 64 of medium length in one batch, which favours it, after a short warm-up call that is not timed. Both must choose
the same tokens in float32 on a toy shape on the same device. On the bfloat16 model random weights leave near ties,
which can break either way, so there the share of equal first tokens and the mean length of the common prefix are
recorded, for ours and for transformers compared with itself in another batch.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.record import machine, write_result
from benchmarks.shapes import SHAPES, build, lengths

STOPS_ONE_IN = 45  # the variant with stop tokens: geometric lengths of this mean


def synchronized() -> float:
    """Seconds on the wall, after the device has finished what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measured(function, prompts: list, tokens: int) -> dict:
    """Runs `function(prompts)` once and returns its outputs with seconds and new tokens per second."""
    start = synchronized()
    outputs = function(prompts)
    seconds = synchronized() - start
    written = sum(len(ids) for candidates in outputs for ids in candidates)
    return {
        "prompts": len(prompts),
        "new_tokens": written if tokens is None else tokens * len(prompts),
        "seconds": round(seconds, 2),
        "new_tokens_per_second": round((written if tokens is None else tokens * len(prompts)) / seconds),
        "outputs": outputs,
    }


def agreement(ours: list, theirs: list) -> dict:
    """How far two lists of single sequences agree: percent of equal first tokens, mean common beginning in tokens."""
    pairs = [(a[0], b[0]) for a, b in zip(ours, theirs, strict=True)]
    common = [next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a)) for a, b in pairs]
    return {
        "first_tokens_equal_percent": round(100 * sum(length > 0 for length in common) / len(pairs), 1),
        "mean_common_beginning_tokens": round(sum(common) / len(pairs), 1),
    }


def equal_to_transformers(folder: str) -> bool:
    """Whether greedy and beam search on a float32 toy on this device give transformers' tokens exactly."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    from dialsum_trl.generation.engine import generate_ids, generate_with_transformers
    from dialsum_trl.generation.settings import GenerationSettings

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(build("smoke", folder, "float32"), dtype="float32").to(device)
    for parameter in model.parameters():
        parameter.data.mul_(8)  # larger logits: choices that rounding cannot turn
    draw = np.random.default_rng(1)
    prompts = [draw.integers(10, 1700, n).tolist() for n in [1, 2, *draw.integers(5, 200, 38)]]
    different = 0
    for beams in (1, 4):
        settings = GenerationSettings(max_new_tokens=24, num_beams=beams, batch_size=16)
        ours = generate_ids(model, prompts, settings, [], 0)
        theirs = generate_with_transformers(model, prompts, settings, [], 0, lambda count: None)
        equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
        print(f"float32 toy on {device}, {beams} beam(s): {equal} of {len(prompts)} equal", flush=True)
        different += len(prompts) - equal
    return different == 0


def main(argv: list[str] | None = None) -> list[dict]:
    """Measures every variant in one process on one device and writes `benchmarks/results/generation_speed.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--shape", default="llama3b")
    parser.add_argument("--smoke", action="store_true", help="toy shape, few prompts; writes nothing")
    parser.add_argument("--name", default="generation_speed", help="name of the result file")
    parser.add_argument("--ours", action="store_true", help="only our cases; writes nothing")
    parser.add_argument("--folder", help="where the model is built, and found again; default: a temporary one")
    args = parser.parse_args(argv)
    import numpy as np
    import torch
    from transformers.utils import logging

    from dialsum_trl.generation.engine import generate_ids, generate_with_transformers
    from dialsum_trl.generation.fused_decoder import difference, fused_decoder
    from dialsum_trl.generation.settings import GenerationSettings
    from dialsum_trl.generation.summarizer import dequantize_if_it_fits
    from dialsum_trl.models.base import load_base

    logging.disable_progress_bar()
    shape, count, part, tokens = ("smoke", 12, 4, 6) if args.smoke else (args.shape, 499, 64, 64)
    device, dtype = ("cuda", "bfloat16") if torch.cuda.is_available() else ("cpu", "float32")
    rows = []

    def add(variant: str, function, prompts: list, tokens: int | None = tokens, **extra) -> dict:
        row = measured(function, prompts, tokens)
        shown = {"variant": variant, "shape": shape, **{k: v for k, v in row.items() if k != "outputs"}, **extra}
        if device == "cuda":
            shown["peak_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 1)
            torch.cuda.reset_peak_memory_stats()
        print(shown, flush=True)
        rows.append(shown)
        return row

    draw = np.random.default_rng(2)
    top = SHAPES[shape][1]["vocab_size"]
    prompts = [draw.integers(10, top - 300, n).tolist() for n in lengths(count)[0]]
    middle = sorted(range(count), key=lambda i: len(prompts[i]))[(count - part) // 2 :][:part]
    subset = [prompts[i] for i in middle]

    def settings(beams: int, batch: int | None = None, **more) -> GenerationSettings:
        return GenerationSettings(max_new_tokens=tokens, num_beams=beams, batch_size=batch, **more)

    def theirs(beams: int, tokens: int = tokens):
        return lambda chosen: generate_with_transformers(
            model, chosen, replace(settings(beams, 64), max_new_tokens=tokens), [], 0, lambda n: None
        )

    def ours(chosen_settings: GenerationSettings, stop_ids=()):
        return lambda chosen: generate_ids(model, chosen, chosen_settings, list(stop_ids), 0)

    with tempfile.TemporaryDirectory() as folder:
        path = f"{args.folder or folder}/model"
        if not Path(path, "config.json").exists():
            build(shape, path, dtype)
        start = synchronized()
        model = load_base(path, dtype=dtype, quantization="4bit", device=device).eval()
        loaded, start = synchronized() - start, synchronized()
        dequantize_if_it_fits(model, dtype)
        print(f"loaded and quantized in {loaded:.1f} s, dequantized in {synchronized() - start:.2f} s", flush=True)

        add("ours, greedy, first call of the process", ours(settings(1)), prompts)
        greedy = add("ours, greedy", ours(settings(1)), prompts)
        add("ours, beam 4, first call", ours(settings(4)), prompts)
        add("ours, beam 4", ours(settings(4)), prompts)
        sampling = settings(1, do_sample=True)
        stops = range(0, top, STOPS_ONE_IN)
        add(f"ours, sampling, stops after {STOPS_ONE_IN} tokens on average", ours(sampling, stops), prompts, None)
        add("ours, one dialogue, beam 4", ours(settings(4)), prompts[:1])
        add("ours, one dialogue, greedy, first call", ours(settings(1)), prompts[:1])
        add("ours, one dialogue, greedy", ours(settings(1)), prompts[:1])
        several = settings(1, do_sample=True, num_return_sequences=8)
        several.max_new_tokens = tokens if args.smoke else 100
        add("ours, 8 samples, up to 100 tokens, stops, first call", ours(several, stops), prompts, None)
        add("ours, 8 samples, up to 100 tokens, stops", ours(several, stops), prompts, None)
        if device == "cuda":
            add("ours, greedy, 512 prompts at a time", ours(settings(1, 512)), prompts)
        add("ours, greedy, ten times the prompts", ours(settings(1)), prompts * (1 if args.smoke else 10))
        fused = fused_decoder(model, 1024)
        if fused is None:
            raise SystemExit("this model's layers are not fused")
        with torch.no_grad():
            differ = difference(fused, subset)
        del fused
        print(f"logits of the fused layers differ from those of transformers' by {differ:.1e}", flush=True)
        if not differ < (1e-4 if dtype == "float32" else 0.05):
            raise SystemExit("the fused layers compute something else")
        if not args.smoke:
            profile(model, settings(1), prompts[:256], "greedy, 256 prompts")
            profile(model, settings(1), prompts[:1], "greedy, one prompt")
        if args.ours:
            if device == "cuda":
                del model
                model = load_base(path, dtype=dtype, quantization="4bit", device=device).eval()
                add("ours, greedy, base kept in nf4", ours(settings(1)), subset)
                add("ours, greedy, base kept in nf4, again", ours(settings(1)), subset)
            if not equal_to_transformers(f"{folder}/toy"):
                raise SystemExit("our decoding and transformers' generate differ in float32")
            return rows

        theirs(1, 4)(subset)  # its first call, with what it compiles and loads, is not timed
        reference = add(f"transformers generate, greedy, {dtype}, one batch of 64", theirs(1), subset)
        rows[-1]["ours_agrees"] = agreement([greedy["outputs"][i] for i in middle], reference["outputs"])
        itself = theirs(1)(subset[: part // 2])  # another batch, other padding
        rows[-1]["itself_in_another_batch_agrees"] = agreement(itself, reference["outputs"][: part // 2])
        print({name: value for name, value in rows[-1].items() if name.endswith("agrees")}, flush=True)
        theirs(4, 4)(subset)
        add(f"transformers generate, beam 4, {dtype}, one batch of 64", theirs(4), subset)
        del model
        model = load_base(path, dtype=dtype, quantization="4bit", device=device).eval()
        add("ours, greedy, base kept in nf4", ours(settings(1)), subset)
        theirs(1, 4)(subset)
        add("transformers generate, greedy, nf4, one batch of 64", theirs(1), subset)
        equal = equal_to_transformers(f"{folder}/toy")
    if not equal:
        raise SystemExit("our decoding and transformers' generate differ in float32")
    if not args.smoke:
        print(f"written: {write_result(args.name, rows)} ({machine()})")
    return rows


def profile(model, settings, prompts: list, name: str) -> None:
    """Prints the kernels of a decoding step and of what comes before: launches, times, and how long the GPU idles.

    A step is what 32 steps more take.
    """
    import torch

    from dialsum_trl.generation.engine import generate_ids

    found = []
    for tokens in (2, 34):
        chosen = replace(settings, max_new_tokens=tokens, num_beams=1)
        generate_ids(model, prompts, chosen, [], 0)
        start = synchronized()
        generate_ids(model, prompts, chosen, [], 0)
        seconds = synchronized() - start
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as record:
            generate_ids(model, prompts, chosen, [], 0)
            torch.cuda.synchronize()
        kernels = {each.key: (each.count, each.self_device_time_total / 1e3) for each in record.key_averages()}
        found.append((seconds * 1e3, kernels))
    (early, before), (late, after) = found
    steps = {k: tuple((x - y) / 32 for x, y in zip(after[k], before.get(k, (0, 0)), strict=True)) for k in after}
    for title, wall, kernels in ((f"{name}: a step", (late - early) / 32, steps), (f"{name}: before", early, before)):
        busy = sum(ms for _, ms in kernels.values())
        count = sum(count for count, _ in kernels.values())
        print(f"{title}: {wall:.2f} ms, {count:.0f} launches, busy {busy:.2f} ms, idle {100 - 100 * busy / wall:.0f} %")
        for key, (launches, ms) in sorted(kernels.items(), key=lambda item: -item[1][1])[:16]:
            print(f"  {100 * ms / busy:5.1f} % {ms:9.3f} ms {launches:7.1f} x {key[:100]}")


if __name__ == "__main__":
    main()
