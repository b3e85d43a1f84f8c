"""What each reward counts for in PPO and GRPO: the reward adapter beside the functions."""

import shutil

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.stages.grpo import train_grpo
from dialsum_trl.stages.ppo import train_ppo
from tests import phase3_toys as toys
from tests.test_grpo import settings as grpo_settings
from tests.test_ppo import settings as ppo_settings

STAGES = {
    "ppo": (train_ppo, ppo_settings, {"save_strategy": "no", "eval_strategy": "no", "eval_on_start": "false"}),
    "grpo": (train_grpo, grpo_settings, {"save_strategy": "no"}),
}


@pytest.fixture(scope="module")
def reward(folders, tmp_path_factory):
    return toys.make_reward(folders["sft"], tmp_path_factory.mktemp("weights") / "reward")


def train(stage, folders, output_dir, reward, **changes):
    """The bytes of the adapter that two steps leave."""
    run, settings, small = STAGES[stage]
    paid = {"reward_functions": ["hangul_share"], "max_steps": 2}
    paid |= {"reward_adapter_path": reward} if reward else {}
    run({}, toys.flags(settings(folders, output_dir, **{**small, **paid, **changes})))
    return (output_dir / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("stage", STAGES)
def test_the_weight_of_the_reward_adapter_is_the_last_of_the_weights(stage, folders, reward, tmp_path):
    light = train(stage, folders, tmp_path / "light", reward, reward_model_weight=0.25)
    assert light == train(stage, folders, tmp_path / "both", reward, reward_weights=[1, 0.25])
    assert light != train(stage, folders, tmp_path / "usual", reward)


def test_without_weights_every_reward_counts_once(folders, reward, tmp_path):
    usual = train("ppo", folders, tmp_path / "usual", reward)
    assert usual == train("ppo", folders, tmp_path / "ones", reward, reward_weights=[1, 1])


@pytest.mark.parametrize("stage", STAGES)
def test_two_flags_for_one_weight_are_refused(stage, folders, reward, tmp_path):
    with pytest.raises(InputError, match=r"--reward_weights and --reward_model_weight exclude each other.*leave"):
        train(stage, folders, tmp_path / "out", reward, reward_weights=[1, 2], reward_model_weight=2)


@pytest.mark.parametrize("stage", STAGES)
def test_a_weight_of_no_reward_adapter_is_refused(stage, folders, tmp_path):
    with pytest.raises(InputError, match=r"--reward_model_weight 0.5: there is no reward adapter.*--reward_adapter_pa"):
        train(stage, folders, tmp_path / "out", None, reward_model_weight=0.5)


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_does_not_go_on_with_another_weight(stage, folders, reward, tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 2}
    train(stage, folders, tmp_path / "whole", reward, **saved)
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "again" / "checkpoint-2")
    with pytest.raises(InputError, match=r"--reward_model_weight was 1.0 and is 0.5"):
        train(
            stage, folders, tmp_path / "again", reward, **saved, reward_model_weight=0.5, resume_from_checkpoint="true"
        )
