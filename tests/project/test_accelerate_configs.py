"""Every accelerate YAML loads, names what it says, and holds topology only."""

from dataclasses import fields

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))
KINDS = {
    "cpu": "NO",
    "single_gpu": "NO",
    "ddp": "MULTI_GPU",
    "deepspeed_zero2": "DEEPSPEED",
    "deepspeed_zero3": "DEEPSPEED",
    "fsdp": "FSDP",
    "multi_node": "DEEPSPEED",
}
# What a recipe or a flag says, and a topology must not.
NOT_TOPOLOGY = ("batch", "accumulation", "clipping", "dtype", "precision", "learning")


def names(config: dict) -> list[str]:
    nested = [key for value in config.values() if isinstance(value, dict) for key in names(value)]
    return [*config, *nested]


def test_the_configurations_are_those_the_readme_names():
    assert {path.stem for path in CONFIGS} == set(KINDS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_loads_the_configuration(path):
    config = load_config_from_file(str(path))
    assert config.distributed_type == KINDS[path.stem]
    assert config.use_cpu == (path.stem == "cpu")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_key_is_unknown_to_the_launcher(path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    top = {field.name for field in fields(ClusterConfig)}
    flags = {action.dest for action in launch_command_parser()._actions}
    assert set(config) <= top
    for section in ("deepspeed_config", "fsdp_config"):
        assert set(config.get(section, {})) <= flags


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_holds_topology_and_no_batch_arithmetic(path):
    keys = names(yaml.safe_load(path.read_text(encoding="utf-8")))
    # the CPU file switches mixed precision off for the launcher's own sake
    wrong = [key for key in keys if any(word in key for word in NOT_TOPOLOGY) and path.stem != "cpu"]
    assert wrong == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_opens_with_when_cost_and_command(path):
    comment = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = " ".join(comment)
    assert comment[0].startswith("# When: ")
    assert "Cost: " in text
    assert "accelerate launch --config_file accelerate_configs/" in text or "accelerate_configs/launch/" in text
    assert "recipes/" in text


def test_several_machines_cannot_be_started_without_their_number():
    arguments = ["--config_file", str(ROOT / "accelerate_configs/multi_node.yaml"), "recipe.py"]
    with pytest.raises(ValueError, match="num_processes"):
        _validate_launch_command(launch_command_parser().parse_args(arguments))
