"""The folder that each stage of Phase 3 leaves: its checkpoints can be used, its curves can be shown."""

import functools

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.adapter_settings import adapter_settings, use_adapter_settings
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.models.record import read_record
from dialsum_trl.sharing.report.runs import read_run
from tests.stage_toys import train

STEPS = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}


@pytest.fixture(scope="module")
def outputs(folders, tmp_path_factory):
    """The folder of two steps of a stage, with a checkpoint after the second; trained when first asked for."""

    @functools.cache
    def output(stage):
        folder = tmp_path_factory.mktemp(stage) / stage
        train(stage, folders, folder, **STEPS, **({"accept_weak": True} if stage == "reward" else {}))
        return folder

    return output


@pytest.fixture(params=["dpo", "grpo", "ppo", "reward"])
def output(request, outputs):
    return outputs(request.param)


def test_a_checkpoint_is_recorded_as_its_finished_run(output):
    checkpoint, finished = read_record(output / "checkpoint-2"), read_record(output)
    passing = {"metrics", "evaluation", "finished"}
    assert all(checkpoint[name] == finished[name] for name in finished.keys() - passing)


def test_its_curves_are_shown_in_a_report(output):
    assert [entry["step"] for entry in read_run("run", output).history if "loss" in entry][-1] == 2


def test_a_reward_adapter_writes_no_summaries_and_the_line_says_where_it_goes(folders, outputs):
    output = outputs("reward")
    base = load_base(str(folders["base"]), dtype="float32", quantization="none")
    for folder in (output, output / "checkpoint-2"):
        with pytest.raises(InputError, match=r"is a reward adapter; give it to --reward_adapter_path"):
            use_adapter_settings({"adapter_path": str(folder)}, set())
        with pytest.raises(InputError, match=r"is a reward adapter; give it to --reward_adapter_path"):
            load_adapter(base, folder)


def test_the_best_adapter_of_ppo_is_used_as_its_finished_run(output):
    for best in output.glob("**/best"):
        assert adapter_settings(str(best)) == adapter_settings(str(output))
