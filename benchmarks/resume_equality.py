"""A run killed half way and resumed against an uninterrupted one: losses, adapter and states, for each optimizer.

    python -m benchmarks.resume_equality --full-determinism     # one GPU; every kernel gives the same sums each time
    python -m benchmarks.resume_equality                        # as users run: what two unbroken runs differ by as well
    python -m benchmarks.resume_equality --smoke                # CPU, a toy shape

The recipe's own file runs on random weights. The second run gets a copy of the first run's folder with only its first
checkpoint, as after a kill, and `--resume_from_checkpoint true`. Losses and norms are those of the trainer's state,
with every digit. 8-bit optimizers keep tensors of 4,096 values and more in 8 bits (`optimizer_dtypes`): the toy's are
fewer.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.record import write_result
from benchmarks.runner import build_in_process, logged_steps, recipe_command, run_timed, write_rows

OPTIMS = ("paged_adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit")
ROWS_A_STEP = {True: 8, False: 64}  # by --smoke


def run(options, folder: Path, optim: str, output: Path, resumed: bool = False) -> None:
    """One run of the recipe; each of its steps must have a finite, positive loss and norm."""
    settings = {
        "model_name_or_path": folder / "model", "train_file": folder / "rows.csv", "output_dir": output,
        "optim": optim, "max_steps": options.steps, "save_strategy": "steps", "save_steps": options.steps // 2,
        "logging_steps": 1, "disable_tqdm": "true", "learning_rate": 2e-4, "warmup_steps": 0,
        **({"full_determinism": "true"} if options.full_determinism else {}),
        **({"resume_from_checkpoint": "true"} if resumed else {}),
        **({"use_cpu": "true", "dtype": "float32", "effective_batch_size": ROWS_A_STEP[True]} if options.smoke else
           {"memory_gib": options.memory_gib}),
    }  # fmt: skip
    log = options.logs / f"{optim}_{output.name}.log"
    lines = run_timed(recipe_command("sft_llama3b", settings), log, options.limit)
    logged_steps(lines, options.steps // 2 if resumed else options.steps)


def curve(folder: Path, steps: int) -> list[tuple[float, float]]:
    """Loss and gradient norm of every step, as the trainer counted them."""
    state = json.loads((folder / f"checkpoint-{steps}" / "trainer_state.json").read_text())
    found = [(entry["loss"], entry["grad_norm"]) for entry in state["log_history"] if "grad_norm" in entry]
    if len(found) != steps:
        raise SystemExit(f"{folder}: {len(found)} steps logged of {steps}")
    return found


def tensors(value, name: str = "") -> dict:
    """Every tensor of nested dicts and lists, by its path."""
    import torch

    if torch.is_tensor(value):
        return {name: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path: tensor for key, part in parts for path, tensor in tensors(part, f"{name}/{key}").items()}


def difference(one: Path, other: Path, steps: int) -> dict:
    """How much two runs differ after their last step; 0 and all tensors equal if they are the same bytes."""
    import torch
    from safetensors.torch import load_file

    pairs = list(zip(curve(one, steps)[steps // 2 :], curve(other, steps)[steps // 2 :], strict=True))
    adapters = [load_file(folder / "adapter_model.safetensors") for folder in (one, other)]
    states = [
        tensors(torch.load(folder / f"checkpoint-{steps}" / "optimizer.pt", weights_only=True, map_location="cpu"))
        for folder in (one, other)
    ]
    if any(first.keys() != second.keys() for first, second in (adapters, states)):
        raise SystemExit(f"{one} and {other} hold different tensors")
    mine, theirs = (torch.cat([adapter[name].double().flatten() for name in adapters[0]]) for adapter in adapters)
    return {
        "largest_relative_loss_difference": max(abs(a[0] - b[0]) / a[0] for a, b in pairs),
        "largest_relative_norm_difference": max(abs(a[1] - b[1]) / a[1] for a, b in pairs),
        "relative_adapter_difference": float((mine - theirs).norm() / mine.norm()),
        "adapter_tensors_equal": sum(torch.equal(tensor, adapters[1][name]) for name, tensor in adapters[0].items()),
        "optimizer_tensors_equal": sum(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items()),
        "adapter_tensors": len(adapters[0]), "optimizer_tensors": len(states[0]),
        "optimizer_dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in states[0].values()}),
    }  # fmt: skip


def figures(options, folder: Path, optim: str) -> dict:
    """The unbroken run, the resumed one, and without --full-determinism a second unbroken one."""
    whole, resumed, again = (folder / optim / name for name in ("whole", "resumed", "again"))
    run(options, folder, optim, whole)
    first = f"checkpoint-{options.steps // 2}"
    shutil.copytree(whole / first, resumed / first)
    run(options, folder, optim, resumed, resumed=True)
    row = {
        "variant": f"{optim}, {'deterministic kernels' if options.full_determinism else 'as users run'}",
        "shape": "smoke" if options.smoke else "llama3b", "optim": optim, "steps": options.steps,
        "resumed_behind_step": options.steps // 2, "rows_a_step": ROWS_A_STEP[options.smoke],
        "full_determinism": options.full_determinism,
        "losses": [round(loss, 6) for loss, _ in curve(whole, options.steps)],
        "grad_norms": [round(norm, 6) for _, norm in curve(whole, options.steps)],
        "resumed_from_unbroken": difference(whole, resumed, options.steps),
    }  # fmt: skip
    if not options.full_determinism:
        run(options, folder, optim, again)
        row["unbroken_from_unbroken"] = difference(whole, again, options.steps)
    shutil.rmtree(folder / optim)
    return row


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--optims", nargs="+", default=list(OPTIMS))
    parser.add_argument("--steps", type=int, default=24, help="even: the run dies half way")
    parser.add_argument("--memory-gib", type=float, default=24)
    parser.add_argument("--full-determinism", action="store_true", help="PyTorch's deterministic kernels; slower")
    parser.add_argument("--limit", type=float, default=180, help="seconds for one run")
    parser.add_argument("--logs", type=Path, default=None, help="where each run's output goes")
    parser.add_argument("--smoke", action="store_true", help="a toy shape on the CPU; writes no result file")
    options = parser.parse_args(argv)
    if options.steps < 2 or options.steps % 2:
        parser.error("--steps must be even, 2 or more")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options.logs = options.logs or folder / "logs"
        options.logs.mkdir(parents=True, exist_ok=True)
        build_in_process("smoke" if options.smoke else "llama3b", folder / "model")
        write_rows(folder / "rows.csv", folder / "model", ROWS_A_STEP[options.smoke] * options.steps)
        for optim in options.optims:
            rows.append(figures(options, folder, optim))
            print(json.dumps(rows[-1]), flush=True)
            if not options.smoke:
                write_result(f"resume_equality{'_deterministic' if options.full_determinism else ''}", rows)
    return rows


if __name__ == "__main__":
    main()
