"""A PPO run that continues evaluates, stops and is paid as the unbroken one, or says why it cannot."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from dialsum_trl.rl.ppo_trainer import PPOTrainer
from dialsum_trl.stages.ppo import train_ppo
from dialsum_trl.training.dev_rouge import DevRouge
from tests import phase3_toys as toys
from tests.conftest import ROOT
from tests.ppo_toys import environment
from tests.row_files import sample
from tests.test_ppo import settings


def train(folders, output_dir, **changes):
    return train_ppo({}, toys.flags(settings(folders, output_dir, save_total_limit=9, **changes)))


def continue_from(folders, whole, step, **changes):
    """Trains again from that step's checkpoint of `whole`, in a folder beside it; the folder and the figures."""
    again = whole.with_name(f"from-{step}")
    shutil.copytree(whole / f"checkpoint-{step}", again / f"checkpoint-{step}")
    return again, train(folders, again, resume_from_checkpoint="true", **changes)


def evaluated_steps(folder, last):
    history = json.loads((folder / f"checkpoint-{last}" / "trainer_state.json").read_text())["log_history"]
    return [entry["step"] for entry in history if "eval_reward" in entry]


def adapter(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def test_a_run_that_continues_evaluates_no_more_often_than_the_unbroken_one(folders, tmp_path):
    change = {"max_steps": 4, "save_steps": 2, "eval_steps": 4}
    train(folders, tmp_path / "whole", **change)
    again, _ = continue_from(folders, tmp_path / "whole", 2, **change)
    assert evaluated_steps(again, 4) == evaluated_steps(tmp_path / "whole", 4) == [0, 4]
    assert adapter(again) == adapter(tmp_path / "whole")


@pytest.fixture
def stopped(folders, tmp_path, monkeypatch):
    """Folder and figures of a run that a tripwire stopped at step 4, and of one that continued after that step."""
    score = DevRouge.score

    def falls(self, trainer, summaries):
        return score(self, trainer, summaries) | {"eval_rouge_mean": 20.0 if trainer.state.global_step == 4 else 30.0}

    monkeypatch.setattr(DevRouge, "score", falls)
    change = {"max_steps": 8, "save_steps": 2, "eval_steps": 2}
    figures = train(folders, tmp_path / "whole", **change)
    return (tmp_path / "whole", figures), continue_from(folders, tmp_path / "whole", 4, **change)


def test_a_run_that_a_tripwire_stopped_ends_there_again(stopped):
    (whole, first), (again, then) = stopped
    assert "ROUGE fell from 30.00 to 20.00" in first["stopped by"] and first["optimizer steps"] == 4
    ends = ("stopped by", "optimizer steps", "best step", "best reward", "KL to SFT at the end, nats a summary")
    assert [then[name] for name in ends] == [first[name] for name in ends]
    assert adapter(again) == adapter(whole)


def test_the_record_of_a_best_adapter_older_than_the_checkpoint_has_its_scores(stopped):
    records = [json.loads((folder / "dialsum.json").read_text()) for folder, _ in stopped]
    assert records[0]["evaluation"]["rouge"]["n"] == 4
    assert [record["evaluation"] for record in records] == [records[0]["evaluation"]] * 2


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_died_resumes_exactly_across_an_epoch(folders, tmp_path, monkeypatch):
    small = sample(tmp_path, train=24) / "train.csv"  # three rollouts an epoch
    change = {"train_file": small, "max_steps": 12, "save_total_limit": 9, "eval_steps": 4}
    train_ppo({}, toys.flags(settings(folders, tmp_path / "whole", **change)))

    step = PPOTrainer.training_step

    def dies(self, *args, **kwargs):
        if self.state.global_step == 9:
            raise Killed
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(PPOTrainer, "training_step", dies)
        train_ppo({}, toys.flags(settings(folders, tmp_path / "died", **change)))
    train_ppo({}, toys.flags(settings(folders, tmp_path / "died", resume_from_checkpoint="true", **change)))

    for file in ("adapter_model.safetensors", "critic.safetensors"):
        whole, died = (load_file(tmp_path / run / "checkpoint-12" / file) for run in ("whole", "died"))
        assert all(torch.equal(whole[name], died[name]) for name in whole), file
    states = [
        json.loads((tmp_path / run / "checkpoint-12" / "trainer_state.json").read_text()) for run in ("whole", "died")
    ]
    whole, died = ([entry for entry in state["log_history"] if "kl" in entry][-1] for state in states)
    assert all(whole[name] == died[name] for name in ("kl", "score", "value_loss", "entropy", "grad_norm"))


@pytest.mark.slow
def test_a_killed_process_resumes_exactly(folders, tmp_path):
    change = {"max_steps": 12, "save_total_limit": 9}
    command = [sys.executable, str(ROOT / "recipes" / "ppo.py")]
    run = [*command, *toys.flags(settings(folders, tmp_path / "whole", **change))]
    subprocess.run(run, check=True, env=environment(), cwd=ROOT, capture_output=True)
    process = subprocess.Popen(
        [*command, *toys.flags(settings(folders, tmp_path / "died", **change))],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "died" / "checkpoint-4" / "trainer_state.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = [*command, *toys.flags(settings(folders, tmp_path / "died", resume_from_checkpoint="true", **change))]
    subprocess.run(run, check=True, env=environment(), cwd=ROOT, capture_output=True)
    for file in ("adapter_model.safetensors", "critic.safetensors"):
        whole, died = (load_file(tmp_path / name / "checkpoint-12" / file) for name in ("whole", "died"))
        assert all(torch.equal(whole[name], died[name]) for name in whole), file
