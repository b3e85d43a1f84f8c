"""Variants of LoRA by flag: each reaches peft, trains, resumes, is predicted with and merged; fused where it can be."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from benchmarks.models import logits, sft
from dialsum_trl.cli.merge import merge_adapter
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.generation.summarizer import load_summarizer
from dialsum_trl.generation.vllm_engine import vllm_problem
from dialsum_trl.kernels.fused.attach import attach, why_not_fused
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.models.files import check_trainable
from dialsum_trl.models.lora import add_lora, lora_config, lora_targets
from dialsum_trl.models.record import read_record
from tests.fused_models import difference, documents, lora_model, loss_and_gradients, pack

PROMPTS = [[7, 8, 9, 10], [300, 20, 5]]
FUSED, PACKED = "packed, fused layers", "packed, plain layers: "
VARIANTS = {
    "rsLoRA": (dict(use_rslora=True), FUSED),
    "DoRA": (dict(use_dora=True), PACKED),
    "a start in the rows": (dict(init_lora_weights="eva"), FUSED),
    "PiSSA": (dict(init_lora_weights="pissa"), FUSED),
    "OLoRA with rsLoRA": (dict(init_lora_weights="olora", use_rslora=True), FUSED),
    "an orthogonal start": (dict(init_lora_weights="orthogonal"), FUSED),
    "LoRA+": (dict(loraplus_lr_ratio=8.0), FUSED),
    "ranks of a fused group": (dict(rank_pattern={"gate_proj": 8, "up_proj": 8}, alpha_pattern={"o_proj": 4}), FUSED),
    "ranks that differ in a group": (dict(rank_pattern={"q_proj": 8}), PACKED),
    "all linear layers": (dict(lora_target_modules=["all-linear"]), FUSED),
}


@pytest.mark.parametrize(("flags", "path"), VARIANTS.values(), ids=VARIANTS)
def test_a_variant_trains_resumes_predicts_and_merges(toy_base, tmp_path, flags, path):
    adapter, again = tmp_path / "adapter", tmp_path / "again"
    assert path in sft(toy_base, adapter, **flags)
    shutil.copytree(adapter / "checkpoint-1", again / "checkpoint-1")
    sft(toy_base, again, resume_from_checkpoint=True, **flags)
    trained = load_file(adapter / "adapter_model.safetensors")
    resumed = load_file(again / "adapter_model.safetensors")
    assert trained.keys() == resumed.keys() and all(torch.equal(trained[name], resumed[name]) for name in trained)

    predicted = load_summarizer(adapter_path=str(adapter))
    merge_adapter(adapter, tmp_path / "merged", dtype="float32")
    merged = load_summarizer(str(tmp_path / "merged"))
    torch.testing.assert_close(logits(predicted.model, PROMPTS), logits(merged.model, PROMPTS), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("first", ["pissa", "olora"])
def test_an_adapter_that_changed_its_base_is_saved_as_plain_lora_of_the_same_function(toy_base, tmp_path, first):
    sft(toy_base, tmp_path / "run", init_lora_weights=first)
    config = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True and config["r"] == 32 and vllm_problem(tmp_path / "run") is None
    assert read_record(tmp_path / "run")["settings"]["init_lora_weights"] == first
    last = tmp_path / "run" / "checkpoint-2"  # as peft itself would save and load it
    found, expected = (
        logits(load_adapter(load_base(str(toy_base), dtype="float32", quantization="none"), folder).eval(), PROMPTS)
        for folder in (tmp_path / "run", last)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert "whose base is changed" in vllm_problem(last)
    with pytest.raises(InputError, match=r"PiSSA or OLoRA, whose base is changed.*`dialsum merge` it"):
        check_trainable(last, json.loads((last / "adapter_config.json").read_text()))


@pytest.mark.parametrize(
    "settings",
    [
        dict(use_rslora=True),
        dict(rank_pattern={"k_proj|q_proj|v_proj": 16}),
        dict(alpha_pattern={"o_proj": 4}),
        *(dict(init_lora_weights=first) for first in ("pissa", "olora", "orthogonal")),
    ],
    ids=str,
)
def test_fused_layers_have_pefts_loss_and_gradients(settings):
    model, batch = lora_model("llama", **settings), pack(documents())
    expected = loss_and_gradients(model, batch)
    assert why_not_fused(model) is None
    attach(model)
    loss, gradients = loss_and_gradients(model, batch)
    assert loss == pytest.approx(expected[0], rel=1e-5) and difference(gradients, expected[1]) < 1e-4


def test_the_rates_of_loraplus_differ_by_the_ratio(toy_base, tmp_path):
    sft(toy_base, tmp_path, loraplus_lr_ratio=8.0, weight_decay=0.1)
    groups = torch.load(tmp_path / "checkpoint-1" / "optimizer.pt")["param_groups"]
    rates = {group["initial_lr"] for group in groups if group["params"]}
    assert max(rates) == pytest.approx(8 * min(rates)) and {group["weight_decay"] for group in groups[:1]} == {0.1}
    assert read_record(tmp_path)["settings"]["loraplus_lr_ratio"] == 8.0


def test_every_flag_reaches_peft():
    flags = dict(use_dora=True, use_rslora=True, init_lora_weights="gaussian")
    patterns = dict(rank_pattern='{"q_proj": 4}', alpha_pattern={"q_proj": 2.5})
    config = lora_config(ModelArguments(**flags, **patterns))
    assert all(getattr(config, name) == value for name, value in flags.items())
    assert config.rank_pattern == {"q_proj": 4} and config.alpha_pattern == {"q_proj": 2.5}


@pytest.mark.parametrize("value", ['{"q_proj": 0}', '{"q_proj": "8"}', '{"q_proj": true}', "q_proj", "[8]"])
def test_a_pattern_that_is_none_is_refused(value):
    with pytest.raises(InputError, match=r"--rank_pattern .*: give layers and their numbers as JSON"):
        ModelArguments(rank_pattern=value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (dict(rank_pattern={"query": 4}, quantization="none"), "--rank_pattern query: names none of the layers"),
        (dict(init_lora_weights="pissa", quantization="4bit"), "--init_lora_weights pissa: changes the base's weights"),
        (dict(init_lora_weights="orthogonal", lora_r=3, quantization="none"), "requires the LoRA rank to be even"),
        (dict(lora_target_modules=["query"], quantization="none"), "query: the model has no such layers; it has down"),
    ],
)
def test_what_the_model_cannot_take_is_refused(toy_base, flags, message):
    base = AutoModelForCausalLM.from_pretrained(toy_base)
    with pytest.raises(InputError, match=message):
        add_lora(base, ModelArguments(**flags))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--use_peft", "false", "--use_dora", "true"], "--use_dora true: has no effect in sft: all weights"),
        (["--use_peft", "false", "--loraplus_lr_ratio", "4"], "--loraplus_lr_ratio 4.0: has no effect in sft"),
    ],
)
def test_full_fine_tuning_refuses_settings_of_adapters(given, reason):
    from dialsum_trl.stages.sft import train_sft

    with pytest.raises(InputError, match=reason):
        train_sft({}, [*given, "--quantization", "none"])


def test_all_linear_layers_are_the_decoders_and_no_head(toy_base):
    base = AutoModelForCausalLM.from_pretrained(toy_base)
    assert lora_targets(base, ["all-linear"]) == sorted(ModelArguments().lora_target_modules)
    model = get_peft_model(base, LoraConfig(target_modules=lora_targets(base, ["all-linear"])))
    assert not any("lm_head" in name for name in model.targeted_module_names)
