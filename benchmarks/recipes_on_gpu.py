"""Each of the four recipes takes optimizer steps on random weights of its real shape, in its own dtype.

    python -m benchmarks.recipes_on_gpu            # one GPU of 80 GB
    python -m benchmarks.recipes_on_gpu --smoke    # CPU, toy shapes

Nothing is bypassed: the recipe's own file, 4-bit loading, the default path, the NaN filter off. A step whose loss or
gradient norm is not finite and positive fails the run (so does a step that the fp16 gradient scaler skips).
Tokens per second are those of the steps after the first three (compilation), tokens of the rows without padding.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import write_result
from benchmarks.runner import ROOT, build_in_process, logged_steps, run_timed, tokens_per_step, write_rows

WARM_UP = 3  # steps before the clock
# recipe -> real shape, smoke shape, --memory_gib that it is given and must stay within (reserved)
RECIPES = {
    "sft_llama3b": ("llama3b", "smoke", 8),
    "sft_qwen3_4b": ("qwen3_4b", "smoke_qwen3", 10),
    "sft_llama8b": ("llama8b", "smoke", 16),
    "sft_qwen25_7b": ("qwen25_7b", "smoke_qwen2", 16),
}


def figures(recipe: str, options, folder: Path) -> list[dict]:
    """Builds the shape, runs the recipe within its limit and, with --free, with the memory free as well."""
    true_shape, smoke_shape, limit = RECIPES[recipe]
    shape = smoke_shape if options.smoke else true_shape
    started = time.monotonic()
    model, rows = folder / "model", folder / "rows.csv"
    build_in_process(shape, model)
    write_rows(rows, model, 64 * options.steps)
    tokens = tokens_per_step(rows, model, 64)
    built = round(time.monotonic() - started, 1)
    print(f"{recipe}: model and rows after {built} s", flush=True)
    results = []
    for budget in [limit, None] if options.free else [limit]:
        name = f"{recipe}, within {budget} GiB" if budget else f"{recipe}, memory free"
        output = folder / f"adapter_{budget}"
        command = [
            sys.executable, ROOT / "recipes" / f"{recipe}.py",
            "--model_name_or_path", model, "--train_file", rows, "--output_dir", output,
            *(["--memory_gib", budget] if budget else []),
            "--max_steps", options.steps, "--logging_steps", 1, "--save_strategy", "no", "--disable_tqdm", "true",
            "--warmup_steps", 0, "--logging_nan_inf_filter", "false",
            *(["--use_cpu", "true", "--dtype", "float32"] if options.smoke else []),
        ]  # fmt: skip
        begun = time.monotonic()
        lines = run_timed(command, options.logs / f"{output.name}_{recipe}.log", options.limit)
        times, losses, norms = logged_steps(lines, options.steps)
        printed = "\n".join(line for _, line in lines)
        first = min(WARM_UP, options.steps - 1)
        seconds = times[-1] - times[first - 1]
        peak = float(re.search(r"peak GPU memory, GiB +([\d.]+)", printed)[1])
        record = json.loads((output / "dialsum.json").read_text())
        row = {
            "variant": name, "shape": shape, "dtype": record["dtype"], "losses": losses, "grad_norms": norms,
            "peak_reserved_gib": peak, "memory_gib": budget, "within_limit": peak <= budget if budget else None,
            "tokens_per_second": round(sum(tokens[first : options.steps]) / seconds),
            "seconds_to_first_step": round(times[0], 1), "build_seconds": built,
            "seconds": round(time.monotonic() - begun, 1),
            "plan": next((line for _, line in lines if line.startswith(("Plan", "Packed"))), None),
        }  # fmt: skip
        print(json.dumps(row), flush=True)
        results.append(row)
    shutil.rmtree(model)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="toy shapes on the CPU; writes no result file")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--free", action="store_true", help="a second run of each with the memory free")
    parser.add_argument("--limit", type=float, default=150, help="seconds for one run")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--logs", type=Path, default=None, help="where each run's output goes")
    options = parser.parse_args()
    results, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        options.logs = options.logs or Path(folder) / "logs"
        options.logs.mkdir(parents=True, exist_ok=True)
        for recipe in options.recipes:
            place = Path(folder) / recipe
            place.mkdir()
            try:
                results += figures(recipe, options, place)
            except SystemExit as error:
                print(f"{recipe} FAILED: {error}", flush=True)
                failed.append(recipe)
                shutil.rmtree(place)
            if not options.smoke and results:
                write_result("recipes_on_gpu", results)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
