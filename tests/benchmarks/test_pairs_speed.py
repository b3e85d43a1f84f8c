"""The benchmarks of pairs and rollouts: their smoke runs, and what they refuse."""

import pytest

from benchmarks import pairs_speed, rollout_speed
from benchmarks.ppo_speed import make_adapters
from benchmarks.shapes import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    build("smoke", folder / "model")
    make_adapters("smoke", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["dpo", "reward"])
def test_pairs_are_measured_and_compared_with_padded_batches(folder, variant):
    figures = pairs_speed.work(variant, "smoke", folder, smoke=True)
    assert figures["equal"] and figures["pairs_per_second"] > 0


@pytest.mark.slow
def test_a_rollout_is_measured_and_compared_with_padded_batches(folder):
    figures = rollout_speed.grpo("grpo", folder, smoke=True)
    assert figures["equal"] and figures["seconds_a_step"] > 0


@pytest.mark.parametrize("row", [{"equal": False}, {"last_loss": float("nan")}])
def test_a_path_that_computes_something_else_ends_the_benchmark(row):
    with pytest.raises(SystemExit, match="dpo"):
        pairs_speed.check([{"variant": "reward", "equal": True, "last_loss": 0.6}, {"variant": "dpo", **row}])


def test_speeds_are_compared_by_the_seconds_of_a_step():
    rows = [{"variant": "dpo padded", "seconds_a_step": 9.0}, {"variant": "dpo", "seconds_a_step": 1.5}]
    assert pairs_speed.faster(rows, "dpo padded", "dpo") == 6.0
