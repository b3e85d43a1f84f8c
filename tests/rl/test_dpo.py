"""DPO on a toy: it starts at ln 2 from the SFT adapter and learns what the pairs say."""

import math

import pytest
import torch
from safetensors.torch import load_file

from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.rl.dpo_trainer import DPOTrainer
from dialsum_trl.stages.jobs.dpo import MEASURED
from tests.stage_toys import history, train


@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_it_starts_at_ln_2_and_learns_the_pairs(folders, tmp_path, quantization):
    figures = train("dpo", folders, tmp_path / "out", quantization=quantization)
    assert figures["first loss (ln 2 = 0.6931)"] == pytest.approx(math.log(2), abs=1e-6)
    assert figures["held-out accuracy"] > 0.9 and figures["held-out loss"] < 0.67


def test_the_policy_is_saved_alone(folders, tmp_path):
    train("dpo", folders, tmp_path / "out", max_steps=2, warmup_steps=0)
    saved, start = (load_file(f / "adapter_model.safetensors") for f in (tmp_path / "out", folders["sft"]))
    assert saved.keys() == start.keys()
    assert any(not torch.equal(saved[name], start[name]) for name in saved)
    assert not (tmp_path / "out" / "ref").exists()


def test_a_reference_that_is_not_the_start_is_noticed(folders, tmp_path, monkeypatch):
    def differs(model, source, target):
        for name, parameter in model.named_parameters():
            if f".{target}." in name:
                parameter.data.mul_(30)

    monkeypatch.setattr("dialsum_trl.rl.adapter_roles.copy_weights", differs)
    with pytest.raises(TrainingError, match="ln 2"):
        train("dpo", folders, tmp_path / "out", max_steps=2, warmup_steps=0)


def test_a_run_that_continues_knows_its_first_loss(folders, tmp_path):
    change = dict(warmup_steps=0, save_strategy="steps", save_steps=2, lr_scheduler_type="constant")
    train("dpo", folders, tmp_path / "out", max_steps=2, **change)
    figures = train("dpo", folders, tmp_path / "out", max_steps=4, resume_from_checkpoint=True, **change)
    assert figures["optimizer steps"] == 4
    assert figures["first loss (ln 2 = 0.6931)"] == pytest.approx(math.log(2), abs=1e-6)


def test_it_asks_for_the_sft_adapter(folders, tmp_path):
    with pytest.raises(InputError, match="--adapter_path"):
        train("dpo", folders, tmp_path / "out", adapter_path=None)


def test_a_metric_that_no_evaluation_has_is_refused_before_anything_is_loaded(folders, tmp_path):
    with pytest.raises(InputError, match="accuracy: is not measured; give one of loss, rewards/accuracies"):
        train("dpo", folders, tmp_path / "out", metric_for_best_model="accuracy")


def test_what_may_choose_the_best_checkpoint_is_what_an_evaluation_measures(folders, tmp_path):
    train("dpo", folders, tmp_path, max_steps=1, eval_strategy="steps", eval_steps=1)
    [measured, *_] = [entry for entry in history(tmp_path) if "eval_loss" in entry]
    assert {f"eval_{name}" for name in MEASURED} <= measured.keys()


def test_the_rows_are_taken_as_they_are_tokenized(folders):
    assert DPOTrainer.prepare_rows(None, "rows", None) == "rows"
