"""Two CPU processes against one: the same losses, the same adapter, the same submission; failures that end the job.

The launcher and its YAMLs are the real ones; each run asserts what it ran under, because on CPUs some configurations
silently start one process or another kind.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.phase3_toys import DEV, TRAIN, flags, make_base

pytestmark = pytest.mark.timeout(1000)  # the first run builds DeepSpeed's CPU communication
TOLERANCE = 1e-4
TYPES = {"cpu": "NO", "ddp": "MULTI_CPU", "deepspeed_zero2": "DEEPSPEED", "deepspeed_zero3": "DEEPSPEED"}
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="DeepSpeed builds on CPUs with a C++ compiler")
CASES = [(config, bits) for config in ("ddp", "deepspeed_zero2", "deepspeed_zero3") for bits in ("4bit", "none")]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A random base and few rows, for runs of 6 steps of 8 rows with a checkpoint after the third."""
    import csv

    folder = tmp_path_factory.mktemp("distributed")
    make_base(folder / "base")
    for source, rows in ((TRAIN, 64), (DEV, 9)):
        with open(source, encoding="utf-8") as file:
            lines = list(csv.reader(file))[: rows + 1]
        with open(folder / source.name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(lines)
    return folder


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
            "lora_dropout": 0,
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
            for rank in range(processes):
                seen = json.loads(Path(f"{job['seen']}.{rank}.json").read_text())
                assert seen == {"distributed_type": TYPES[config], "num_processes": processes}
    return done


def train_here(toy: Path, output: Path, **settings) -> Path:
    from dialsum_trl.sft import train_sft

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
    """Equal losses in every step and the same whole adapter to 1e-4.

    The evaluation loss is a mean over batches of means over tokens: it moves a little with how rows fall into batches.
    """
    from safetensors.torch import load_file

    assert losses(other) == pytest.approx(losses(one), abs=TOLERANCE)
    assert losses(other, "eval_loss") == pytest.approx(losses(one, "eval_loss"), rel=2e-3)
    mine, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert {name: t.shape for name, t in mine.items()} == {name: t.shape for name, t in theirs.items()}
    assert max((mine[name] - theirs[name]).abs().max().item() for name in mine) < TOLERANCE
    assert any(t.any() for name, t in theirs.items() if "lora_B" in name)


@pytest.fixture(scope="module")
def one_process(toy):
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


def test_two_zero3_processes_train_4bit_as_one_does_and_one_process_continues_from_their_checkpoint(toy, one_process):
    one = one_process("4bit")
    two = train_there(toy, "deepspeed_zero3", toy / "zero3-4bit")
    assert_same_run(one, two)

    output = resumed(toy, two, toy / "zero3-then-one")
    assert_same_run(one, train_here(toy, output, resume_from_checkpoint="true"))


def test_two_ddp_processes_on_the_fast_path_train_and_summarize_as_one_does(toy):
    from dialsum_trl.predict import predict

    def predict_argv(output: Path, adapter: Path) -> list[str]:
        settings = {"adapter_path": adapter, "test_file": toy / "dev.csv", "output_dir": output, "use_cpu": True}
        settings |= {"model_name_or_path": toy / "base", "dtype": "float32", "num_beams": 2, "max_new_tokens": 6}
        return flags({**settings, "batch_size": 2, "bootstrap": 10, "rouge_tokenizer": "char"})

    one = train_here(toy, toy / "one-fast", fast="true")
    jobs = [
        {"stage": "sft", "argv": sft_argv(toy, toy / "ddp-fast", fast="true")},
        {"stage": "predict", "argv": predict_argv(toy / "predict-two", one)},
    ]
    done = launch(toy, "ddp", jobs)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(one, toy / "ddp-fast")
    assert done.stdout.count("SFT finished") == 1  # one process prints, the other is silent
    assert done.stdout.count("train: 64 rows") == 1

    predict({}, predict_argv(toy / "predict-one", one))
    submissions = [(toy / folder / "submission.csv").read_bytes() for folder in ("predict-one", "predict-two")]
    assert submissions[0] == submissions[1]


def test_a_process_that_fails_ends_the_job_within_a_minute_with_its_own_error(toy):
    started = time.monotonic()
    argv = sft_argv(toy, toy / "failing", eval_strategy="no", save_strategy="no")
    done = launch(toy, "ddp", [{"stage": "sft", "argv": argv, "fails": {"rank": 1, "step": 2, "how": "raises"}}])
    assert done.returncode != 0
    assert "planted failure on rank 1" in done.stderr
    assert time.monotonic() - started < 120  # start-up of two processes on busy cores included


@pytest.mark.slow
def test_cpu_yaml_refuses_several_processes_instead_of_starting_one(toy):
    command = [*launcher("cpu", 2), str(ROOT / "recipes/sft_llama3b.py"), *sft_argv(toy, toy / "refused")]
    done = finish(start(command, ROOT), 120)
    assert done.returncode != 0
    assert "error: several processes were asked for and the launcher started one" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("config", "bits"), CASES)
def test_two_processes_train_as_one_does(toy, one_process, config, bits):
    assert_same_run(one_process(bits), train_there(toy, config, toy / f"{config}-{bits}", quantization=bits))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ddp", "deepspeed_zero2", "deepspeed_zero3"])
def test_two_processes_continue_from_one_process_checkpoint(toy, one_process, config):
    one = one_process("4bit")
    output = resumed(toy, one, toy / f"one-then-{config}")
    assert_same_run(one, train_there(toy, config, output, resume_from_checkpoint="true"))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["deepspeed_zero2", "deepspeed_zero3"])
def test_the_best_checkpoint_is_the_adapter_that_is_left(toy, config):
    """A learning rate that makes the loss worse after step 3: checkpoint-3 is the best, and what remains."""
    from safetensors.torch import load_file

    # the warm-up of a huge rate: the first evaluation is better than the second
    output = train_there(toy, config, toy / f"best-{config}", learning_rate=0.5, load_best_model_at_end=True)
    state = json.loads((output / "trainer_state.json").read_text())
    best = load_file(Path(state["best_model_checkpoint"]) / "adapter_model.safetensors")
    left = load_file(output / "adapter_model.safetensors")
    assert all((best[name] == left[name]).all() for name in best)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ddp", "deepspeed_zero2"])
def test_a_killed_process_ends_the_job_and_the_run_continues_on_one_process(toy, one_process, config):
    output = toy / f"killed-{config}"
    argv = sft_argv(toy, output)
    started = time.monotonic()
    done = launch(toy, config, [{"stage": "sft", "argv": argv, "fails": {"rank": 1, "step": 5, "how": "killed"}}])
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr
    assert time.monotonic() - started < 180
    assert_same_run(one_process("4bit"), train_here(toy, output, resume_from_checkpoint="true"))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ddp", "deepspeed_zero2", "deepspeed_zero3"])
def test_full_fine_tuning_trains_as_one_process_does(toy, config):
    from safetensors.torch import load_file

    settings = dict(use_peft="false", quantization="none", learning_rate=1e-3)
    one = toy / "one-full"
    if not one.exists():
        train_here(toy, one, **settings)
    two = train_there(toy, config, toy / f"full-{config}", **settings)
    assert losses(two) == pytest.approx(losses(one), abs=TOLERANCE)
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert max((mine[name] - theirs[name]).abs().max().item() for name in mine) < TOLERANCE


SSH = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do [[ $1 == -o ]] && shift; shift; done
shift
exec bash -c "$1"
"""


def several_machines(toy: Path, output: Path, folder: Path, **settings) -> subprocess.Popen:
    """The ssh launcher with an ssh that stays on this machine: two "machines" of one process each."""
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(0o755)
    env = environment() | {
        "PATH": f"{folder}:{environment()['PATH']}",
        "HOSTS": "127.0.0.1 localhost",
        "PROCESSES_PER_NODE": "1",
        "MAIN_PORT": str(20000 + os.getpid() % 10000),
    }
    command = ["bash", str(ROOT / "accelerate_configs/launch/ssh.sh"), "recipes/sft_llama3b.py"]
    command += sft_argv(toy, output, **settings)
    return start(command, ROOT, env)


@pytest.mark.slow
def test_the_ssh_launcher_trains_over_two_machines_as_one_process_does(toy, one_process, tmp_path):
    done = finish(several_machines(toy, toy / "machines", tmp_path / "bin"), 900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert done.stdout.count("'loss': ") == 6  # not once a machine
    assert_same_run(one_process("4bit"), toy / "machines")


@pytest.mark.slow
def test_when_one_machine_fails_the_ssh_launcher_stops_the_others(toy, tmp_path):
    run = several_machines(toy, toy / "machines-fail", tmp_path / "bin", max_steps=2000, eval_steps=1000)
    while not (toy / "machines-fail/checkpoint-3/trainer_state.json").exists() and run.poll() is None:
        time.sleep(0.2)
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "-A"], capture_output=True, text=True).stdout.splitlines()
    second = [line for line in listed if "--machine_rank 1" in line and "machines-fail" in line]
    for line in second:
        os.kill(int(line.split()[0]), signal.SIGTERM)
    started = time.monotonic()
    done = finish(run, 120)
    assert second, (done.stdout + done.stderr)[-3000:]
    assert done.returncode != 0
    assert "one of the machines failed" in done.stderr
    assert time.monotonic() - started < 60
