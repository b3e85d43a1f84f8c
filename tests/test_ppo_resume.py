"""A PPO run that continues evaluates, stops and is paid as the unbroken one, or says why it cannot."""

import json
import shutil

import pytest

from dialsum_trl.ppo import train_ppo
from dialsum_trl.rl.policy_watch import PolicyWatch
from tests import phase3_toys as toys
from tests.test_ppo import settings


def train(folders, output_dir, **changes):
    return train_ppo({}, toys.flags(settings(folders, output_dir, save_total_limit=9, **changes)))


def continue_from(folders, whole, step, **changes):
    """Trains again behind that step's checkpoint of `whole`, in a folder beside it; the folder and the figures."""
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
    """Folder and figures of a run that a tripwire stopped at step 4, and of one that continued behind that step."""
    measure = PolicyWatch._rouge_metrics

    def falls(self, outputs):
        return measure(self, outputs) | {"eval_rouge_mean": 20.0 if self.state.global_step == 4 else 30.0}

    monkeypatch.setattr(PolicyWatch, "_rouge_metrics", falls)
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
