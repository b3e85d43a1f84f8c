"""A full disk leaves the last checkpoint whole and one line; a full GPU is told which flags help."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.stages.common.command import command, problem
from dialsum_trl.stages.decoding_sweep import decoding_sweep
from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.grpo import train_grpo
from dialsum_trl.stages.ppo import train_ppo
from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.preferences import make_preferences
from dialsum_trl.stages.reward import train_reward
from dialsum_trl.stages.seq2seq import train_seq2seq
from dialsum_trl.stages.sft import SFT, train_sft
from dialsum_trl.training.checkpoints.choose import SAVING, checkpoints
from dialsum_trl.training.checkpoints.manifest import flaw
from tests.conftest import ROOT, TINY
from tests.phase3_toys import flags


def settings(base, output, **changes):
    return flags({
        "model_name_or_path": base, "train_file": TINY / "data" / "dev.csv", "output_dir": output, "use_cpu": True,
        "dtype": "float32", "quantization": "none", "max_steps": 4, "effective_batch_size": 2,
        "per_device_train_batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 0, "save_strategy": "steps",
        "save_steps": 1, "save_total_limit": 9, "rouge_rows": 0, "disable_tqdm": True, **changes,
    })  # fmt: skip


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def checkpoint_bytes(toy_base, tmp_path_factory):
    output = tmp_path_factory.mktemp("size") / "out"
    train_sft({}, settings(toy_base, output, max_steps=1))
    return size(output / "checkpoint-1")


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of that many bytes; skipped where this user may not."""
    folder, mounted = tmp_path / "disk", False

    def mount(bytes_: int) -> Path:
        nonlocal mounted
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={bytes_}", "tmpfs", str(folder)], capture_output=True
        )
        if done.returncode:
            pytest.skip("no right to mount a small disk here")
        mounted = True
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_disk_that_fills_while_saving_leaves_the_last_checkpoint_whole(toy_base, checkpoint_bytes, small_disk, share):
    """`share`: how much of the second checkpoint still fits."""
    disk = small_disk(int(checkpoint_bytes * (1 + share)) + 2**16)
    with pytest.raises(TrainingError) as caught:
        train_sft({}, settings(toy_base, disk / "out"))
    message = str(caught.value)
    assert message.startswith("step 2: the checkpoint could not be written (") and "\n" not in message
    assert f"{disk}/out/checkpoint-1, is untouched: continue with --resume_from_checkpoint true" in message
    assert [path.name for path in checkpoints(disk / "out")] == ["checkpoint-1"]
    assert flaw(disk / "out" / "checkpoint-1") is None
    assert not list((disk / "out" / SAVING).glob("*"))  # the space that half a checkpoint took is free again


def test_a_command_ends_with_one_line_and_exit_code_1_and_goes_on_when_there_is_room(toy_base, tmp_path):
    run = [sys.executable, str(ROOT / "recipes" / "sft_llama3b.py"), *settings(toy_base, tmp_path / "out", max_steps=2)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    shell = ["bash", "-c", 'ulimit -f "$0"; exec "$@"', "16"]  # 16 KiB: no file of weights
    done = subprocess.run([*shell, *run], env=env, cwd=ROOT, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert "could not be written" in errors[0] and "There is no checkpoint yet" in errors[0]
    assert not checkpoints(tmp_path / "out") and not (tmp_path / "out" / "adapter_config.json").exists()
    train_sft({}, settings(toy_base, tmp_path / "out", max_steps=2))
    assert len(checkpoints(tmp_path / "out")) == 2


def stages():
    return [decoding_sweep, make_preferences, predict, train_dpo, train_grpo, train_ppo, train_reward, train_seq2seq,
            train_sft]  # fmt: skip


def test_the_flags_named_for_a_full_gpu_exist_in_each_stage(capsys):
    for function in stages():
        with pytest.raises(SystemExit):
            function({}, ["--help_all"])
        printed = capsys.readouterr().out
        flags = function.stage.memory_flags
        assert len(set(flags)) == 3 and all(flag.split()[0] in printed for flag in flags), function.stage.name


@pytest.fixture
def stage(monkeypatch):
    """Makes a stage of a function: it takes no flags and has SFT's hints."""

    def make(run):
        monkeypatch.setitem(sys.modules, "a_job", SimpleNamespace(run=run))
        return command(Stage("sft", "a_job", groups=(), memory_flags=SFT.memory_flags), "train_sft", "")

    return make


@pytest.mark.parametrize(
    "text", ["CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has", "CUBLAS_STATUS_ALLOC_FAILED"]
)
def test_a_full_gpu_becomes_a_line_with_three_flags(stage, text):
    kind = torch.OutOfMemoryError if "Tried" in text else RuntimeError

    def full(*settings):
        raise kind(text)

    with pytest.raises(
        TrainingError, match=r"out of GPU memory .*--memory_gib or .*--per_device_.* lower --max_length"
    ):
        stage(full)({}, [])


def test_other_errors_stay_what_they_are(stage):
    def broken(*settings):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else") as caught:
        stage(broken)({}, [])
    assert not isinstance(caught.value, TrainingError)
    assert problem(FileNotFoundError(2, "No such file"), SFT) is None
