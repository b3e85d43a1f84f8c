"""A PPO run that continues evaluates, stops and is paid as the unbroken one, or says why it cannot."""

import json
import shutil

import pytest

from dialsum_trl.rl.ppo_trainer import PPOTrainer
from dialsum_trl.training.dev_rouge import DevRouge
from tests.row_files import sample
from tests.stage_toys import ADAPTER, CRITIC, history, same_file, train, train_twice


def test_a_run_that_continues_evaluates_no_more_often_than_the_unbroken_one(folders, tmp_path):
    whole, again = train_twice("ppo", folders, tmp_path, 2, max_steps=4, save_steps=2, eval_steps=4)
    steps = [[entry["step"] for entry in history(run / "checkpoint-4") if "eval_reward" in entry]
             for run in (whole, again)]  # fmt: skip
    assert steps == [[0, 4], [0, 4]]
    assert same_file(whole, again)


@pytest.fixture
def stopped(folders, tmp_path, monkeypatch):
    """Folder and figures of a run that a tripwire stopped at step 4, and of one that continued after that step."""
    score = DevRouge.score

    def falls(self, trainer, summaries):
        return score(self, trainer, summaries) | {"eval_rouge_mean": 20.0 if trainer.state.global_step == 4 else 30.0}

    monkeypatch.setattr(DevRouge, "score", falls)
    whole, again, change = tmp_path / "whole", tmp_path / "again", {"max_steps": 8, "save_total_limit": 9}
    figures = train("ppo", folders, whole, **change)
    shutil.copytree(whole / "checkpoint-4", again / "checkpoint-4")
    return (whole, figures), (again, train("ppo", folders, again, resume_from_checkpoint=True, **change))


def test_a_run_that_a_tripwire_stopped_ends_there_again(stopped):
    (whole, first), (again, then) = stopped
    assert "ROUGE fell from 30.00 to 20.00" in first["stopped by"] and first["optimizer steps"] == 4
    ends = ("stopped by", "optimizer steps", "best step", "best reward", "KL to SFT at the end, nats a summary")
    assert [then[name] for name in ends] == [first[name] for name in ends]
    assert same_file(again, whole)


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
    train("ppo", folders, tmp_path / "whole", **change)
    step = PPOTrainer.training_step

    def dies(self, *args, **kwargs):
        if self.state.global_step == 9:
            raise Killed
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(PPOTrainer, "training_step", dies)
        train("ppo", folders, tmp_path / "died", **change)
    train("ppo", folders, tmp_path / "died", **change, resume_from_checkpoint=True)
    last = [tmp_path / run / "checkpoint-12" for run in ("whole", "died")]
    assert same_file(*last, ADAPTER) and same_file(*last, CRITIC)
    whole, died = ([entry for entry in history(folder) if "kl" in entry][-1] for folder in last)
    assert all(whole[name] == died[name] for name in ("kl", "score", "value_loss", "entropy", "grad_norm"))
