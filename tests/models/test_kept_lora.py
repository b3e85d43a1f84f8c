"""An adapter that is trained further keeps its layers: flags that ask for others are refused, not passed over."""

import json
import shutil

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.adapter_settings import keep_lora
from tests.stage_toys import train


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "ppo", "grpo"])
def test_every_stage_refuses_another_rank(folders, tmp_path, stage):
    with pytest.raises(InputError, match=r"--lora_r 8: --adapter_path .* with its own, 4; leave --lora_r out"):
        train(stage, folders, tmp_path / "out", lora_r=8)


@pytest.mark.parametrize(
    ("change", "own"),
    [
        ({"lora_alpha": 64}, "8"),
        ({"lora_dropout": 0.0}, "0.1"),
        ({"lora_target_modules": ["q_proj"]}, "down_proj q_proj v_proj"),
    ],
)
def test_other_settings_are_refused_with_the_adapters_own(folders, tmp_path, change, own):
    with pytest.raises(InputError, match=f"is trained further with its own, {own}; leave"):
        train("dpo", folders, tmp_path / "out", **change)


def test_the_adapters_own_settings_are_no_error(folders):
    own = dict(lora_r=4, lora_alpha=8, lora_dropout=0.1, lora_target_modules=["v_proj", "q_proj", "down_proj"])
    assert keep_lora({"adapter_path": str(folders["sft"]), **own}, set(own)) is None


def test_a_recipes_settings_are_no_error(folders):
    assert keep_lora({"adapter_path": str(folders["sft"]), "lora_r": 16}, set()) is None


def test_a_pattern_of_layers_is_compared_as_the_text_that_it_is(folders, tmp_path):
    config = json.loads((folders["sft"] / "adapter_config.json").read_text())
    folder = shutil.copytree(folders["sft"], tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": r".*_proj"}))
    values = {"adapter_path": str(folder), "lora_target_modules": [r".*_proj"]}
    assert keep_lora(values, set(values)) is None
    with pytest.raises(InputError, match="--lora_target_modules q_proj"):
        keep_lora(values | {"lora_target_modules": ["q_proj"]}, set(values))
