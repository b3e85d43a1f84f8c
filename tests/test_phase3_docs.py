"""The commands of docs/phase3.md parse: every recipe is there and takes the flags it is given."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import dialsum_trl
from dialsum_trl.core.settings.resolve import resolve
from dialsum_trl.core.settings.yaml_file import read_config, stage_settings
from dialsum_trl.stages.common import names

ROOT = Path(__file__).resolve().parents[1]
STAGES = {
    "preferences": "make_preferences",
    "reward": "train_reward",
    "ppo": "train_ppo",
    "dpo": "train_dpo",
    "grpo": "train_grpo",
    "sft_llama3b": "train_sft",
}


def commands() -> list[str]:
    """Every recipe command in the document and in the recipes of Phase 3, one line each."""
    text = (ROOT / "docs" / "phase3.md").read_text(encoding="utf-8")
    for name in STAGES:
        text += (ROOT / "recipes" / f"{name}.py").read_text(encoding="utf-8")
    lines = text.replace("\\\n", " ").splitlines()
    found = [
        re.search(r"recipes/\w+\.py( +--.*)$", line)
        for line in lines
        if "accelerate launch" in line or "python " in line
    ]
    return sorted({match[0] for match in found if match})


@pytest.mark.parametrize("command", commands())
def test_a_documented_command_parses(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    for folder in ("sft_llama3b", "fold0", "fold1", "reward", "ppo"):
        place = tmp_path / "outputs" / folder
        place.mkdir(parents=True)
        record = {"base_model": "base", "base_revision": "main", "dtype": "bfloat16", "quantization": "4bit"}
        (place / "dialsum.json").write_text(json.dumps({**record, "prompt_style": "native"}))
        (place / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1}))
        save_file({"lora_A": torch.ones(1, 1)}, place / "adapter_model.safetensors")
        (place / "reward.json").write_text("{}")
    name, argv = re.match(r"recipes/(\w+)\.py(.*)", command).groups()
    argv = shlex.split(argv, comments=True)
    if name not in STAGES:
        pytest.skip("another document's recipe")
    function = getattr(dialsum_trl, STAGES[name])
    recipe = {"use_cpu": True, "dtype": "float32"} if name != "preferences" else {}
    job = importlib.import_module(f"dialsum_trl.stages.jobs.{function.stage.name}")
    assert resolve(function.stage, recipe, argv, lambda: job)


@pytest.mark.parametrize("name", ["preferences", "reward", "ppo", "dpo", "grpo"])
def test_the_demo_configures_every_stage(name):
    config = stage_settings(read_config(str(ROOT / "recipes" / "demo.yaml"), names.STAGES), name, names.STAGES)
    assert config["adapter_path"] == "outputs/demo/sft" and config["output_dir"] == f"outputs/demo/{name}"
