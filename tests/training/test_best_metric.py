"""By which metric the best checkpoint is chosen, and which of two values is the better one."""

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.training.best_metric import LOSS, ROUGE, choose_by

METRICS = (*LOSS, *ROUGE, "hit_limit", "mean_token_accuracy", "entropy")


def chosen(metric, given=(), **more):
    values = dict(metric_for_best_model=metric, eval_file="dev.csv", dataset_name=None, greater_is_better=None)
    values |= {"load_best_model_at_end": False, "eval_strategy": "epoch", "save_strategy": "epoch", **more}
    choose_by(values, set(given), METRICS)
    return values["greater_is_better"]


@pytest.mark.parametrize("metric", ["loss", "eval_loss", "hit_limit", "eval_hit_limit", "entropy"])
def test_less_is_better(metric):
    assert chosen(metric) is False


@pytest.mark.parametrize("metric", ["rouge_mean", "eval_rougeL", "mean_token_accuracy"])
def test_more_is_better(metric):
    assert chosen(metric) is True


def test_a_recipes_choice_for_its_own_metric_does_not_hold_for_the_users():
    assert chosen("loss", given={"metric_for_best_model"}, greater_is_better=True) is False


def test_the_users_own_choice_stays():
    assert chosen("hit_limit", given={"greater_is_better"}, greater_is_better=True) is True


def test_evaluations_that_fall_between_checkpoints_choose_none():
    words = "--eval_strategy steps, --save_strategy epoch: the best checkpoint needs evaluations"
    with pytest.raises(InputError, match=words):
        chosen("loss", load_best_model_at_end=True, eval_strategy="steps")
    assert chosen("loss", load_best_model_at_end=True, eval_strategy="steps", save_strategy="best") is False


def test_without_checkpoints_the_recipes_choice_is_dropped_and_the_users_an_error():
    assert chosen("loss", load_best_model_at_end=True, save_strategy="no") is False
    with pytest.raises(InputError, match="--save_strategy no: the best checkpoint needs evaluations"):
        chosen("loss", {"load_best_model_at_end"}, load_best_model_at_end=True, save_strategy="no")


def test_without_a_metric_nothing_is_said():
    assert chosen(None) is None
