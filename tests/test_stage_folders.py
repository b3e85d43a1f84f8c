"""The folder that each stage of Phase 3 leaves: its checkpoints can be used, its curves can be shown."""

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.adapter_settings import adapter_settings, use_adapter_settings
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.models.record import read_record
from dialsum_trl.sharing.report.runs import read_run
from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.grpo import train_grpo
from dialsum_trl.stages.ppo import train_ppo
from dialsum_trl.stages.reward import train_reward
from tests import phase3_toys as toys
from tests import test_dpo, test_grpo, test_ppo, test_reward
from tests.row_files import write_jsonl

STEPS = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}


def train(stage, folders, folder):
    """Two steps of a stage, with a checkpoint behind the second."""
    pairs = write_jsonl(folder / "pairs.jsonl", toys.polite_pairs(16))
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


def test_a_checkpoint_is_recorded_as_its_finished_run(output):
    checkpoint, finished = read_record(output / "checkpoint-2"), read_record(output)
    passing = {"metrics", "evaluation", "finished"}
    assert all(checkpoint[name] == finished[name] for name in finished.keys() - passing)


def test_its_curves_are_shown_in_a_report(output):
    assert [entry["step"] for entry in read_run("run", output).history if "loss" in entry][-1] == 2


def test_a_reward_adapter_writes_no_summaries_and_the_line_says_where_it_goes(folders, tmp_path):
    output = train("reward", folders, tmp_path)
    base = load_base(str(folders["base"]), dtype="float32", quantization="none")
    for folder in (output, output / "checkpoint-2"):
        with pytest.raises(InputError, match=r"is a reward adapter; give it to --reward_adapter_path"):
            use_adapter_settings({"adapter_path": str(folder)}, set())
        with pytest.raises(InputError, match=r"is a reward adapter; give it to --reward_adapter_path"):
            load_adapter(base, folder)


def test_the_best_adapter_of_ppo_is_used_as_its_finished_run(output):
    for best in output.glob("**/best"):
        assert adapter_settings(str(best)) == adapter_settings(str(output))
