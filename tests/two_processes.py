"""Two CPU processes against one: what the distributed tests share.

The launcher and its YAMLs are the real ones; each run asserts what it ran under, because on CPUs some configurations
silently start one process or another kind.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dialsum_trl.stages.sft import train_sft
from tests.conftest import ROOT
from tests.phase3_toys import flags, make_base
from tests.row_files import sample

TOLERANCE = 1e-4
TYPES = {"cpu": "NO", "ddp": "MULTI_CPU", "fsdp": "FSDP"}
TYPES |= {"deepspeed_zero2": "DEEPSPEED", "deepspeed_zero3": "DEEPSPEED"}
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="DeepSpeed builds on CPUs with a C++ compiler")
ZERO2, ZERO3 = (pytest.param(f"deepspeed_zero{stage}", marks=needs_compiler) for stage in (2, 3))


def make_toy(folder: Path) -> Path:
    """A random base and few rows, for runs of 6 steps of 8 rows with a checkpoint after the third."""
    make_base(folder / "base")
    return sample(folder, train=64, dev=9)


def sft_argv(toy: Path, output: Path, **settings) -> list[str]:
    return flags(
        {
            "model_name_or_path": toy / "base",
            "train_file": toy / "train.csv",
            "eval_file": toy / "dev.csv",
            "output_dir": output,
            "use_cpu": True,
            "dtype": "float32",
            "quantization": "4bit",
            **({} if settings.get("use_peft") == "false" else {"lora_dropout": 0}),
            "learning_rate": 5e-3,
            "warmup_steps": 0,
            "max_steps": 6,
            "effective_batch_size": 8,
            "per_device_train_batch_size": 4,
            "eval_strategy": "steps",
            "eval_steps": 3,
            "save_strategy": "steps",
            "save_steps": 3,
            "save_total_limit": 4,
            "logging_steps": 1,
            "fast": "false",
            "rouge_rows": 3,
            "rouge_max_new_tokens": 4,
            "rouge_tokenizer": "char",
            "disable_tqdm": True,
            **settings,
        }
    )


def environment() -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k not in ("ACCELERATE_USE_CPU", "RANK", "WORLD_SIZE", "MASTER_PORT")}
    # DeepSpeed builds its CPU communication once, with the ninja that is installed beside it
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    return {**env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def launcher(config: str, processes: int) -> list[str]:
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    file = str(ROOT / "accelerate_configs" / f"{config}.yaml")
    return [*accelerate, "--config_file", file, "--num_processes", str(processes), "--main_process_port", "0"]


def start(command: list[str], cwd: Path, env: dict | None = None) -> subprocess.Popen:
    """The command in a process group of its own, its output in files that `finish` reads."""
    return subprocess.Popen(
        command, env=env or environment(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(run: subprocess.Popen, timeout: float) -> subprocess.CompletedProcess:
    """Waits for a started command; nothing of its group is left when the test goes on."""
    try:
        out, err = run.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGTERM)  # torchrun's processes have groups of their own: it ends them
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(40)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        out, err = run.communicate()
        raise AssertionError(f"still running after {timeout} s:\n{out[-2000:]}\n{err[-3000:]}") from None
    return subprocess.CompletedProcess(run.args, run.returncode, out, err)


def launch(toy: Path, config: str, jobs: list[dict], processes: int = 2) -> subprocess.CompletedProcess:
    """Runs jobs under the configuration and returns the finished launcher; `seen` of each job is checked."""
    for number, job in enumerate(jobs):
        job["seen"] = str(toy / f"seen-{config}-{time.time_ns()}-{number}")
    plan = toy / f"jobs-{time.time_ns()}.json"
    plan.write_text(json.dumps(jobs))
    command = [*launcher(config, processes), str(ROOT / "tests/distributed_worker.py"), str(plan)]
    done = finish(start(command, toy), 900)
    if done.returncode == 0:
        for job in jobs:
            packs = ("--fast", "true") in itertools.pairwise(job["argv"]) and not config.startswith("deepspeed")
            for rank in range(processes):
                seen = json.loads(Path(f"{job['seen']}.{rank}.json").read_text())
                assert len(seen.pop("rehearsals")) == packs  # the longest pack, once
                assert seen == {"distributed_type": TYPES[config], "num_processes": processes}
    return done


def train_here(toy: Path, output: Path, **settings) -> Path:
    train_sft({}, sft_argv(toy, output, **settings))
    return output


def train_there(toy: Path, config: str, output: Path, **settings) -> Path:
    done = launch(toy, config, [{"stage": "sft", "argv": sft_argv(toy, output, **settings)}])
    assert done.returncode == 0, done.stderr[-3000:]
    return output


def losses(folder: Path, key: str = "loss") -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [row[key] for row in history if key in row]


def assert_same_run(one: Path, other: Path) -> None:
    """Equal losses in every step and the same whole adapter to 1e-4; evaluation losses equal to 1e-5 of themselves."""
    assert losses(other) == pytest.approx(losses(one), abs=TOLERANCE)
    assert losses(other, "eval_loss") == pytest.approx(losses(one, "eval_loss"), rel=1e-5)
    mine, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert {name: t.shape for name, t in mine.items()} == {name: t.shape for name, t in theirs.items()}
    assert max((mine[name] - theirs[name]).abs().max().item() for name in mine) < TOLERANCE
    assert any(t.any() for name, t in theirs.items() if "lora_B" in name)


def runs_on_one_process(toy: Path):
    """Folder of the run on one process, by quantization; trained when first asked for."""
    folders = {}

    def get(quantization: str) -> Path:
        if quantization not in folders:
            folders[quantization] = train_here(toy, toy / f"one-{quantization}", quantization=quantization)
        return folders[quantization]

    return get


def resumed(toy: Path, source: Path, output: Path) -> Path:
    """A folder that holds the third step's checkpoint of another run and nothing else."""
    shutil.copytree(source / "checkpoint-3", output / "checkpoint-3")
    return output
