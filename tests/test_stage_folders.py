"""The folder that each stage of Phase 3 leaves: its checkpoints can be used, its curves can be shown."""

import pytest

from dialsum_trl.runs import adapter_settings
from tests import phase3_toys as toys
from tests import test_dpo, test_grpo, test_ppo, test_reward

STEPS = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}


def train(stage, folders, folder):
    """Two steps of a stage, with a checkpoint behind the second."""
    from dialsum_trl.dpo import train_dpo
    from dialsum_trl.grpo import train_grpo
    from dialsum_trl.ppo import train_ppo
    from dialsum_trl.reward import train_reward

    pairs = toys.write_pairs(folder / "pairs.jsonl", toys.polite_pairs(16))
    output = folder / stage
    dpo = test_dpo.settings({**folders, "pairs": pairs}, output, logging_steps=1)
    reward = test_reward.settings(folders, pairs, output, accept_weak=True, logging_steps=1)
    run, settings = {
        "dpo": (train_dpo, dpo),
        "grpo": (train_grpo, test_grpo.settings(folders, output)),
        "ppo": (train_ppo, test_ppo.settings(folders, output)),
        "reward": (train_reward, reward),
    }[stage]
    run({}, toys.flags({**settings, **STEPS}))
    return output


@pytest.fixture(scope="module", params=["dpo", "grpo", "ppo", "reward"])
def output(request, folders, tmp_path_factory):
    return train(request.param, folders, tmp_path_factory.mktemp(request.param))


def test_a_checkpoint_is_used_as_its_finished_run(output):
    assert adapter_settings(str(output / "checkpoint-2")) == adapter_settings(str(output))


def test_the_best_adapter_of_ppo_is_used_as_its_finished_run(output):
    assert all(adapter_settings(str(best)) == adapter_settings(str(output)) for best in output.glob("**/best"))
