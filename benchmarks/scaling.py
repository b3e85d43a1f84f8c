"""One GPU and several: the recipes under every accelerate configuration, on random weights of the real shapes.

    python -m benchmarks.scaling                  # every GPU of this machine, 3B shape, stops within 9 minutes
    python -m benchmarks.scaling --shape llama8b --runs single_gpu ddp deepspeed_zero3 deepspeed_zero2
    python -m benchmarks.scaling --runs fsdp_one fsdp --result scaling_llama3b_2_fsdp
    python -m benchmarks.scaling --smoke          # two CPU processes, toy shape; writes no result file

Each run is `accelerate launch --config_file accelerate_configs/X.yaml recipes/sft_llama3b.py ...` as a user types it,
64 rows per step (--rows_per_step) for any number of processes, dropout 0 so that adapters can be compared. Three runs
are made only when named: `ddp_weak` has 64 rows per process (weak scaling); `share` runs on one GPU with the rows that
each of several gets; `fsdp_one` is the plain path on one GPU. Where weights are split, layers are plain ones, whose
bf16 rounds LoRA's first updates away (`sft_curves`), so FSDP's and ZeRO-3's adapters are compared with that run.

Seconds are those between log lines, every five steps; the first five, with compilation, are left out. Tokens are
those of the rows, without padding. Efficiency is tokens per second divided by processes times those of one. A run
that exceeds its time is stopped and recorded as failed; the others continue.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.record import write_result
from benchmarks.runner import ROOT, build_in_process, environment, logged_steps, run_timed, tokens_per_step, write_rows

LINE = 5  # steps between log lines: at each the devices wait for the host; those before the first are not timed
WEAK = "ddp_weak"  # weak scaling: every process has the rows of a single one
SHARE = "share"  # one process has the rows that each of several gets: what several could reach without a wire
PLAIN = "fsdp_one"  # one process under fsdp.yaml: nothing is split, but the layers are plain ones
SFT = ("single_gpu", SHARE, "ddp", WEAK, PLAIN, "fsdp", "deepspeed_zero2", "deepspeed_zero3")
RUNS = (*SFT, "predict_one", "predict", "ppo")
USUAL = [run for run in RUNS if run not in (SHARE, WEAK, PLAIN)]
RECIPES = {"llama3b": "sft_llama3b", "llama8b": "sft_llama8b", "smoke": "sft_llama3b"}
B_APART = "relative_difference_of_b"  # of an adapter's B matrices from those of one process
FIGURES = ("run", "processes", "tokens_per_second", "efficiency", "seconds_a_step", "peak_gib", B_APART)


class GpuMemory(threading.Thread):
    """Highest memory of each GPU while it runs, GiB, as nvidia-smi sees it (contexts and NCCL buffers included)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peaks, self.stopped = {}, threading.Event()

    def run(self):
        query = ["nvidia-smi", "--query-gpu=index,memory.used", "--format=csv,noheader,nounits"]
        while not self.stopped.wait(0.5):
            for line in subprocess.run(query, capture_output=True, text=True).stdout.splitlines():
                index, used = map(int, line.split(","))
                self.peaks[index] = max(self.peaks.get(index, 0.0), round(used / 1024, 2))


def launch(config: str, processes: int | None, arguments: list, log: Path, limit: float, gpus: str | None = None):
    """Runs a recipe under a configuration; returns `(seconds, line)` of its output (`run_timed`).

    As many processes as there are GPUs, as the configuration says, unless `processes` is given.
    """
    file = ROOT / "accelerate_configs" / f"{config}.yaml"
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", file]
    command += [] if config in ("single_gpu", "cpu") else ["--main_process_port", "0"]
    command += ["--num_processes", processes] if processes else []
    chosen = {"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}
    return run_timed([*command, *arguments], log, limit, environment(**chosen))


def apart(one: dict, many: dict) -> tuple[bool, float, float]:
    """Two adapters: all tensors there and some B not zero; the largest difference; that of all B over their norm."""
    whole = {name: tensor.shape for name, tensor in one.items()} == {n: t.shape for n, t in many.items()}
    far, norm, largest = 0.0, 0.0, 0.0
    for name in one:
        difference = (one[name].float() - many[name].float()) if name in many else one[name].float()
        largest = max(largest, difference.abs().max().item())
        if "lora_B" in name:
            far, norm = far + difference.square().sum().item(), norm + one[name].float().square().sum().item()
    whole = whole and any(t.any().item() for n, t in many.items() if "lora_B" in n)
    return whole, round(largest, 6), round((far / norm) ** 0.5, 4)


class Bench:
    """The model, the rows and what was measured so far."""

    def __init__(self, options, folder: Path):
        self.options, self.folder, self.results = options, folder, []
        self.shape = "smoke" if options.smoke else options.shape
        self.steps = 10 if options.smoke else options.steps
        self.model = (options.models or folder) / self.shape
        self.rows = folder / "rows.csv"
        if not (self.model / "config.json").exists():
            build_in_process(self.shape, self.model)
        times = options.processes if WEAK in options.runs else 1
        write_rows(self.rows, self.model, options.rows_per_step * self.steps * times)

    def said(self, processes: int) -> int | None:
        """What the command line says: nothing when it is one process, or every GPU."""
        import torch

        return None if processes in (1, torch.cuda.device_count()) else processes

    def common(self) -> list:
        arguments = ["--model_name_or_path", self.model]
        return [*arguments, "--use_cpu", "true", "--dtype", "float32"] if self.options.smoke else arguments

    def sft(self, run: str, limit: float) -> dict:
        processes = 1 if run in ("single_gpu", SHARE, PLAIN) else self.options.processes
        one = "cpu" if self.options.smoke else "single_gpu"
        config = one if run in ("single_gpu", SHARE) else run.removesuffix("_weak").removesuffix("_one")
        rows_per_step = self.options.rows_per_step * (processes if run == WEAK else 1)
        rows_per_step //= self.options.processes if run == SHARE else 1
        output = self.folder / run
        arguments = [
            ROOT / f"recipes/{RECIPES[self.shape]}.py", *self.common(), "--train_file", self.rows,
            "--output_dir", output, "--max_steps", self.steps, "--effective_batch_size", rows_per_step,
            "--logging_steps", LINE, "--save_strategy", "no", "--warmup_steps", 0, "--lora_dropout", 0,
            "--disable_tqdm", "true",
        ]  # fmt: skip
        memory = GpuMemory()
        if not self.options.smoke:
            memory.start()
        lines = launch(config, self.said(processes), arguments, self.log(run), limit, "0" if processes == 1 else None)
        memory.stopped.set()
        times, losses, norms = logged_steps(lines, self.steps, LINE)
        seconds = times[-1] - times[0]
        tokens = tokens_per_step(self.rows, self.model, rows_per_step)[LINE : self.steps]
        printed = " ".join(line for _, line in lines)
        return {
            "processes": processes,
            "tokens_per_second": round(sum(tokens) / seconds),
            "seconds_a_step": round(seconds / (self.steps - LINE), 3),
            "seconds_to_first_line": round(times[0], 1),
            "peak_gib": float(re.search(r"peak GPU memory, GiB +([\d.]+)", printed)[1]),
            "peak_gib_of_each_gpu": memory.peaks,
            "losses": losses,
            "grad_norms": norms,
            "plan": next((line for _, line in lines if line.startswith(("Plan", "Packed"))), None),
            **({} if run in (WEAK, SHARE) else self.compare(output)),
        }

    def compare(self, output: Path) -> dict:
        """The saved adapter against those of one process: which tensors, and how far they are from them."""
        from safetensors.torch import load_file

        found, many = {}, load_file(output / "adapter_model.safetensors")
        for run, end in (("single_gpu", ""), (PLAIN, "_from_plain")):
            if (file := self.folder / run / "adapter_model.safetensors").exists():
                whole, largest, b_apart = apart(load_file(file), many)
                found |= {"adapter_whole": whole, f"largest_difference{end}": largest, f"{B_APART}{end}": b_apart}
        return found

    def predict(self, run: str, limit: float) -> dict:
        processes = 1 if run == "predict_one" else self.options.processes
        one = "cpu" if self.options.smoke else "single_gpu"
        test, output, tokens = self.folder / "test.csv", self.folder / run, 4 if self.options.smoke else 64
        if not test.exists():
            write_rows(test, self.model, 16 if self.options.smoke else 499)
        arguments = [
            ROOT / "recipes/predict.py", *self.common(), "--adapter_path", self.folder / "single_gpu",
            "--test_file", test, "--output_dir", output, "--num_beams", 1, "--max_new_tokens", tokens,
            "--rouge_tokenizer", "char", "--bootstrap", 10,
            "--batch_size", 4 if self.options.smoke else 64,  # the same for all: sums are made in the same order
        ]  # fmt: skip
        config = one if processes == 1 else "ddp"
        lines = launch(
            config, self.said(processes), arguments, self.log(run), limit, "1" if run == "predict_one" else None
        )
        figures = {"processes": processes, "seconds": round(lines[-1][0], 1)}
        other = self.folder / "predict_one" / "submission.csv"
        if run == "predict" and other.exists():
            mine, theirs = (file.read_text().splitlines() for file in (output / "submission.csv", other))
            same = sum(a == b for a, b in zip(mine[1:], theirs[1:], strict=True))
            figures |= {"rows": len(mine) - 1, "rows_equal_to_one_process": same}
        return figures

    def ppo(self, run: str, limit: float) -> dict:
        steps = 2 if self.options.smoke else 4
        arguments = [
            ROOT / "recipes/ppo.py", *self.common(), "--adapter_path", self.folder / "single_gpu",
            "--train_file", self.rows, "--output_dir", self.folder / run, "--reward_functions", "rouge",
            "mask_fidelity", "--reward_weights", 1.0, 0.2, "--max_steps", steps, "--save_strategy", "no",
            "--logging_steps", 1, "--rouge_tokenizer", "char", "--disable_tqdm", "true",
            "--max_completion_length", 8 if self.options.smoke else 64,
            "--max_truncated", 1.1, "--kl_target", 1e9,  # random weights never end a summary
        ]  # fmt: skip
        lines = launch("ddp", self.said(self.options.processes), arguments, self.log(run), limit)
        printed = " ".join(line for _, line in lines)
        if f" {steps} " not in (found := re.search(r"optimizer steps +\d+ ", printed)[0]):
            raise SystemExit(f"ppo: {found.strip()} instead of {steps}")
        peak = float(re.search(r"peak GPU memory, GiB +([\d.]+)", printed)[1])
        return {
            "processes": self.options.processes,
            "steps": steps,
            "seconds": float(re.search(r"  seconds +([\d.]+)", printed)[1]),
            "peak_gib": peak,
        }

    def log(self, run: str) -> Path:
        self.options.logs.mkdir(parents=True, exist_ok=True)
        return self.options.logs / f"{run}.log"

    def measure(self, run: str, limit: float) -> None:
        """One run into `results`; one that fails is recorded as that, and the others continue."""
        started = time.monotonic()
        kind = self.sft if run in SFT else self.ppo if run == "ppo" else self.predict
        try:
            figures = kind(run, limit)
        except SystemExit as error:
            figures = {"failed": str(error)}
        wall = round(time.monotonic() - started, 1)
        self.results.append({"variant": run, "run": run, "shape": self.shape, **figures, "wall_seconds": wall})
        one = next((r for r in self.results if r["run"] == "single_gpu" and "failed" not in r), None)
        if run in SFT and one and "failed" not in figures:
            rate = figures["tokens_per_second"] / one["tokens_per_second"] / figures["processes"]
            self.results[-1]["efficiency"] = round(rate, 3)
        print(json.dumps(self.results[-1]), flush=True)
        if not self.options.smoke:
            name = self.options.result or f"scaling_{self.shape}_{self.options.processes}"
            write_result(name, self.results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="two CPU processes, toy shape; writes no result file")
    parser.add_argument("--shape", default="llama3b", choices=["llama3b", "llama8b"])
    parser.add_argument("--processes", type=int, default=None, help="default: every GPU of this machine")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows_per_step", type=int, default=64, help="over all processes, the same for each number")
    parser.add_argument("--runs", nargs="+", default=USUAL, choices=RUNS)
    parser.add_argument("--seconds", type=float, default=530, help="for all runs together")
    parser.add_argument("--limit", type=float, default=110, help="for one run")
    parser.add_argument("--result", default=None, help="name of the result file; default: scaling_<shape>_<processes>")
    parser.add_argument("--models", type=Path, default=None, help="folder of models built before, one a shape")
    parser.add_argument("--logs", type=Path, default=None, help="where each run's output goes")
    options = parser.parse_args()
    ends = time.monotonic() + options.seconds
    if options.processes is None:
        import torch

        options.processes = 2 if options.smoke else torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as folder:
        options.logs = options.logs or Path(folder) / "logs"
        bench = Bench(options, Path(folder))
        print(f"model and rows after {time.monotonic() - ends + options.seconds:.0f} s", flush=True)
        for run in options.runs:
            if (left := ends - time.monotonic()) < 15:
                print(f"{run}: no time left", flush=True)
                continue
            bench.measure(run, min(left, options.limit))
    print("| " + " | ".join(FIGURES) + " |\n|" + "---|" * len(FIGURES))
    for result in bench.results:
        print(
            "| " + " | ".join(str(result.get(name, "failed" if "failed" in result else "")) for name in FIGURES) + " |"
        )


if __name__ == "__main__":
    main()
