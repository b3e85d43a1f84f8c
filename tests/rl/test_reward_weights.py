"""What each reward counts for in PPO and GRPO: the reward adapter beside the functions."""

import pytest

from dialsum_trl.core.errors import InputError
from tests import phase3_toys as toys
from tests.stage_toys import ADAPTER, train, train_twice

ONLINE = {"ppo": {"eval_strategy": "no", "eval_on_start": "false"}, "grpo": {}}


@pytest.fixture(scope="module")
def reward(folders, tmp_path_factory):
    return toys.make_reward(folders["sft"], tmp_path_factory.mktemp("weights") / "reward")


def two_steps(stage, reward, **changes) -> dict:
    """Settings of two steps that are paid by a function and by that adapter."""
    paid = {"reward_functions": ["hangul_share"], "reward_adapter_path": reward, "max_steps": 2, "save_strategy": "no"}
    return {**ONLINE[stage], **paid, **changes}


def adapter(stage, folders, output, reward, **changes) -> bytes:
    train(stage, folders, output, **two_steps(stage, reward, **changes))
    return (output / ADAPTER).read_bytes()


@pytest.mark.parametrize("stage", ONLINE)
def test_the_weight_of_the_reward_adapter_is_the_last_of_the_weights(stage, folders, reward, tmp_path):
    light = adapter(stage, folders, tmp_path / "light", reward, reward_model_weight=0.25)
    assert light == adapter(stage, folders, tmp_path / "both", reward, reward_weights=[1, 0.25])
    assert light != adapter(stage, folders, tmp_path / "usual", reward)


def test_without_weights_every_reward_counts_once(folders, reward, tmp_path):
    usual = adapter("ppo", folders, tmp_path / "usual", reward)
    assert usual == adapter("ppo", folders, tmp_path / "ones", reward, reward_weights=[1, 1])


@pytest.mark.parametrize("stage", ONLINE)
def test_two_flags_for_one_weight_are_refused(stage, folders, reward, tmp_path):
    with pytest.raises(InputError, match=r"--reward_weights and --reward_model_weight exclude each other.*leave"):
        adapter(stage, folders, tmp_path / "out", reward, reward_weights=[1, 2], reward_model_weight=2)


@pytest.mark.parametrize("stage", ONLINE)
def test_a_weight_of_no_reward_adapter_is_refused(stage, folders, tmp_path):
    with pytest.raises(InputError, match=r"--reward_model_weight 0.5: there is no reward adapter.*--reward_adapter_pa"):
        adapter(stage, folders, tmp_path / "out", None, reward_model_weight=0.5)


@pytest.mark.parametrize("stage", ONLINE)
def test_a_run_does_not_go_on_with_another_weight(stage, folders, reward, tmp_path):
    saved = two_steps(stage, reward, save_strategy="steps", save_steps=2)
    with pytest.raises(InputError, match=r"--reward_model_weight was 1.0 and is 0.5"):
        train_twice(stage, folders, tmp_path, 2, then={"reward_model_weight": 0.5}, **saved)
