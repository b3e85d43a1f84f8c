"""What each launch configuration refuses, and what it sets, before anything is downloaded."""

from dataclasses import replace

import pytest
from transformers import TrainingArguments

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.launcher import Topology, current
from dialsum_trl.core.settings.resolve import resolve
from dialsum_trl.core.settings.topology import fit_topology
from dialsum_trl.models.base import device_map
from dialsum_trl.stages.ppo import PPO
from dialsum_trl.stages.predict import PREDICT
from dialsum_trl.stages.sft import SFT
from dialsum_trl.training.precision import match_precision, trained_dtype

LAUNCHED = ("WORLD_SIZE", "RANK", "MASTER_PORT", "ACCELERATE_USE_CPU", "ACCELERATE_MIXED_PRECISION")


@pytest.fixture
def under(monkeypatch):
    """Sets the environment that the launcher gives its processes under a configuration."""
    for name in (*LAUNCHED, "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_DEEPSPEED_ZERO_STAGE"):
        monkeypatch.delenv(name, raising=False)

    def set_up(kind: str, processes: int = 2) -> None:
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        if kind.startswith("zero"):
            monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
            monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", kind[-1])
        if kind == "fsdp":
            monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")

    return set_up


def settings(**changed) -> dict:
    values = dict(quantization="4bit", dtype="bfloat16", bnb_4bit_quant_storage="uint8", use_cpu=False, optim="paged")
    return {**values, **changed}


@pytest.mark.parametrize("kind", ["ddp", "zero2", "zero3", "fsdp"])
def test_the_topology_is_read_from_the_launcher(under, kind):
    under(kind, 4)
    assert current() == Topology(kind, 4)


def test_without_a_launcher_it_is_single(under):
    assert current() == Topology("single", 1)


@pytest.mark.parametrize(("kind", "storage"), [("zero3", "bfloat16"), ("fsdp", "float32")])
def test_4bit_weights_that_are_split_are_stored_as_their_engine_can_carry_them(under, kind, storage):
    under(kind)
    values = settings()
    fit_topology(SFT, values, set())
    assert values["bnb_4bit_quant_storage"] == storage


@pytest.mark.parametrize("kind", ["ddp", "zero2"])
def test_4bit_weights_that_stay_whole_keep_their_storage(under, kind):
    under(kind)
    values = settings()
    fit_topology(SFT, values, set())
    assert values["bnb_4bit_quant_storage"] == "uint8"


@pytest.mark.parametrize("kind", ["zero2", "zero3", "fsdp"])
def test_split_optimizer_states_are_kept_by_torch(under, kind):
    under(kind)
    values = settings()
    fit_topology(SFT, values, set())
    assert values["optim"] == "adamw_torch"


@pytest.mark.parametrize(
    ("kind", "stage", "changed", "given", "words"),
    [
        ("fsdp", "sft", {"use_cpu": True}, set(), "FSDP needs GPUs"),
        ("zero2", "ppo", {}, set(), "ppo holds policy, reference, critic and reward"),
        ("zero3", "sft", {"quantization": "8bit"}, set(), "8-bit weights cannot be split"),
        ("fsdp", "sft", {}, {"bnb_4bit_quant_storage"}, "--bnb_4bit_quant_storage uint8 under fsdp"),
        ("zero2", "sft", {"optim": "paged_adamw_32bit"}, {"optim"}, "--optim paged_adamw_32bit under zero2"),
    ],
)
def test_what_a_topology_cannot_run_is_one_line_that_names_one_that_can(under, kind, stage, changed, given, words):
    under(kind)
    with pytest.raises(InputError) as error:
        fit_topology({"sft": SFT, "ppo": PPO}[stage], settings(**changed), given)
    message = str(error.value)
    assert words in message
    assert "accelerate_configs/" in message
    assert "\n" not in message


def test_a_launcher_that_started_one_of_several_processes_is_an_error(under, monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with pytest.raises(InputError, match=r"ddp\.yaml"):
        fit_topology(SFT, settings(use_cpu=True), set())


def test_a_variable_that_would_switch_deepspeed_off_is_an_error(under, monkeypatch):
    under("zero2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(InputError, match="ACCELERATE_USE_CPU"):
        fit_topology(SFT, settings(), set())


@pytest.mark.parametrize("kind", ["ddp", "zero3", "fsdp"])
def test_prediction_holds_the_whole_model_under_every_configuration(under, kind):
    under(kind)
    fit_topology(PREDICT, {"quantization": "8bit", "use_cpu": True}, set())
    assert current() == Topology("ddp", 2)
    assert device_map("cuda:1", "none") == {"": "cuda:1"}


def test_the_base_goes_whole_to_this_process_unless_the_engine_splits_it(under):
    under("ddp")
    assert device_map("cuda:1", "none") == {"": "cuda:1"}
    assert trained_dtype("bfloat16") == "float32"
    under("zero3")
    assert device_map("cuda:1", "4bit") is None
    assert trained_dtype("bfloat16") == "bfloat16"  # DeepSpeed keeps the float32 masters


def test_fsdp_quantizes_on_the_device_and_streams_unquantized_weights_from_the_host(under):
    under("fsdp")
    assert device_map("cuda:1", "4bit") == {"": "cuda:1"}
    assert device_map("cuda:1", "none") is None


adjust = match_precision  # all of SFT's that the next test needs


def test_a_single_process_uses_the_first_of_several_gpus_and_says_how_to_use_all(monkeypatch, tmp_path, capsys):
    # what transformers finds in a process that sees four GPUs
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda args: args.__dict__.get("_n_gpu") or 4))
    settings = ["--use_cpu", "true", "--dtype", "float32", "--output_dir", str(tmp_path)]
    recipe = dict(eval_strategy="no", load_best_model_at_end=False)
    *_, args = resolve(replace(SFT, job=__name__), recipe, settings)
    assert args.n_gpu == 1
    [line] = capsys.readouterr().out.splitlines()
    assert "the first of 4 GPUs" in line and "accelerate launch --config_file accelerate_configs/ddp.yaml" in line
