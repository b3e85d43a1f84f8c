"""What a run is compared by when it continues: adapters, bases and the order of rows by content, not by name."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.file_names import SETTINGS_FILE
from dialsum_trl.models.identity import adapter_identity, base_identity
from dialsum_trl.rl.ppo_config import PPOConfig
from dialsum_trl.stages.common.preference_flags import RewardArguments
from dialsum_trl.training.checkpoints.same_run import describe, same_run


@pytest.fixture
def adapter(folders, tmp_path):
    """A copy of the toy adapter, as a reward adapter has its scale beside it."""
    folder = shutil.copytree(folders["sft"], tmp_path / "adapter")
    (folder / "reward.json").write_text('{"score_mean": 1.0, "score_std": 2.0}')
    return folder


@pytest.fixture
def describe_run(folders, adapter, tmp_path):
    """`describe` of a run of PPO from `adapter`, paid by it too, with these flags changed."""
    tokenizer = AutoTokenizer.from_pretrained(folders["base"])

    def describe_it(rouge_rows=4, **changes):
        fixed = dict(use_cpu=True, bf16=False, rollout_batch_size=8, per_device_train_batch_size=4)
        args = PPOConfig(output_dir=str(tmp_path / "out"), **fixed, **changes)
        model = ModelArguments(model_name_or_path=str(folders["base"]), adapter_path=str(adapter))
        paid = RewardArguments(reward_adapter_path=str(adapter), rouge_rows=rouge_rows)
        return describe(args, (model, paid), tokenizer, [{"dialogue": "a"}], ["a"])

    return describe_it


def continue_from(folder, then: dict, now: dict) -> dict:
    """What `same_run` returns for a checkpoint of a run described by `then`."""
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / SETTINGS_FILE).write_text(json.dumps(then))
    return same_run(str(folder / "checkpoint-1"), now, ["row"])


def change(file, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_an_adapter_that_was_moved_and_saved_again_is_the_same(adapter, tmp_path):
    before = adapter_identity(adapter)
    moved = adapter.rename(tmp_path / "moved")
    config = json.loads((moved / "adapter_config.json").read_text())
    change(
        moved / "adapter_config.json",
        base_model_name_or_path="elsewhere",
        inference_mode=not config["inference_mode"],
        target_modules=config["target_modules"][::-1],
        peft_version="99",
        a_setting_of_later_versions=None,
    )
    assert adapter_identity(moved) == before


@pytest.mark.parametrize("setting", [{"lora_alpha": 64}, {"use_rslora": True}, {"target_modules": ["q_proj"]}])
def test_a_run_does_not_continue_from_an_adapter_of_other_settings(describe_run, adapter, tmp_path, setting):
    then = describe_run()
    change(adapter / "adapter_config.json", **setting)
    with pytest.raises(InputError, match=r"adapter to start from was weights (.+), settings .+ and is weights \1, set"):
        continue_from(tmp_path, then, describe_run())


def test_a_run_does_not_continue_with_another_scale_of_its_reward(describe_run, adapter, tmp_path):
    then = describe_run()
    change(adapter / "reward.json", score_std=10.0)
    with pytest.raises(InputError, match=r"another run .*: reward adapter was .*, scale "):
        continue_from(tmp_path, then, describe_run())


def test_ppo_does_not_continue_with_other_rows_to_watch(describe_run, tmp_path):
    with pytest.raises(InputError, match="--rouge_rows was 4 and is 1"):
        continue_from(tmp_path, describe_run(), describe_run(rouge_rows=1))


@pytest.mark.parametrize("name", ["use_seedable_sampler", "split_batches", "even_batches", "dispatch_batches"])
def test_a_run_does_not_continue_with_its_rows_in_another_order(describe_run, tmp_path, name):
    one, other = (describe_run(accelerator_config={name: value}) for value in (True, False))
    with pytest.raises(InputError, match=f"--accelerator_config.{name} was true and is false"):
        continue_from(tmp_path, one, other)


def test_a_run_continues_with_what_only_moves_its_rows_faster(describe_run, tmp_path):
    one, other = (describe_run(accelerator_config={"non_blocking": value}) for value in (True, False))
    assert continue_from(tmp_path, one, other) == other


def test_a_checkpoint_of_an_older_version_continues(describe_run, tmp_path):
    then, now = describe_run(), describe_run()
    then["things"] = {k: v.split(", ")[0] if isinstance(v, str) else v for k, v in then["things"].items()}
    then["flags"] = {k: v for k, v in then["flags"].items() if "accelerator" not in k and k != "rouge_rows"}
    assert continue_from(tmp_path, then, now) == now


def test_weights_that_changed_in_the_middle_are_another_base(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    layers = {f"layer{number}": torch.zeros(512, 512) for number in range(8)}
    save_file(layers, tmp_path / "model.safetensors")
    before = base_identity(str(tmp_path), "main")
    layers["layer4"] += 1
    save_file(layers, tmp_path / "model.safetensors")
    assert base_identity(str(tmp_path), "main") != before
