"""Checkpoints of PPO and GRPO fall between generations, where a run resumes exactly."""

from types import SimpleNamespace

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.rl.checkpoint_steps import optimizer_steps_per_generation
from tests.row_files import sample
from tests.stage_toys import same_file, train, train_twice


@pytest.mark.parametrize(
    ("per_generation", "iterations", "accumulation", "steps"),
    [(8, 1, 8, 1), (2, 2, 2, 2), (4, 1, 2, 2), (1, 1, 2, 1), (3, 1, 2, None), (4, 3, 2, 6)],
)
def test_a_generation_serves_a_whole_number_of_steps_or_none(per_generation, iterations, accumulation, steps):
    args = SimpleNamespace(
        steps_per_generation=per_generation, num_iterations=iterations, gradient_accumulation_steps=accumulation
    )
    assert optimizer_steps_per_generation(args) == steps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_iterations": 2, "save_steps": 3}, "--save_steps 3.*multiple of 2"),
        ({"steps_per_generation": 4, "save_steps": 1}, "--save_steps 1:.*multiple of 2"),
        ({"steps_per_generation": 3}, "--gradient_accumulation_steps 2.*3 x 1 micro-batches"),
    ],
)
def test_grpo_refuses_checkpoints_inside_a_generation(folders, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train("grpo", folders, tmp_path / "out", **change)


def test_ppo_refuses_best_checkpoints_inside_a_rollout(folders, tmp_path):
    change = {"save_strategy": "best", "metric_for_best_model": "reward", "eval_steps": 3}
    with pytest.raises(InputError, match=r"--eval_steps 3.*multiple of 2"):
        train("ppo", folders, tmp_path / "out", **change)


def test_grpo_goes_on_exactly_between_generations_of_two_steps(folders, tmp_path):
    assert same_file(*train_twice("grpo", folders, tmp_path, 2, num_iterations=2))


def test_grpo_goes_on_exactly_in_an_epoch_whose_last_step_is_a_short_one(folders, tmp_path):
    small = sample(tmp_path, train=3) / "train.csv"  # three generations, two of them per step
    changes = dict(train_file=small, steps_per_generation=1, save_steps=1)
    assert same_file(*train_twice("grpo", folders, tmp_path, 1, **changes))


def test_a_longer_run_does_not_go_on_in_the_middle_of_a_rollout(folders, tmp_path):
    change = {"lr_scheduler_type": "constant", "eval_strategy": "no", "eval_on_start": "false"}
    train("ppo", folders, tmp_path / "out", max_steps=3, **change)
    with pytest.raises(InputError, match="checkpoint-3: was written in the middle of a generation"):
        train("ppo", folders, tmp_path / "out", max_steps=4, resume_from_checkpoint=True, **change)
