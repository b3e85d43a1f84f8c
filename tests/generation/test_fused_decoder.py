"""The fused decoder: transformers' logits, whatever the weights are stored as, and the model left as it was."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from dialsum_trl.generation import fused_decoder as module
from dialsum_trl.generation.engine import generate_ids
from dialsum_trl.generation.fused_decoder import FusedDecoder, difference, fused_decoder
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.models.base import quantization_config
from tests.generation_toys import PAD, STOP, lora, random_prompts, toy

PROMPTS = random_prompts(9)
SETTINGS = GenerationSettings(max_new_tokens=8, num_beams=1)


def in_four_bits(folder):
    toy("llama", hidden_size=64, intermediate_size=128, num_attention_heads=8).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=quantization_config("4bit", "float32"), dtype=torch.float32, device_map="cpu"
    )


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_logits_are_those_of_transformers_layers(family, adapted):
    model = toy(family).requires_grad_(False)
    model = lora(model).eval().get_base_model() if adapted else model
    fused = fused_decoder(model, 64)
    assert fused is not None and difference(fused, PROMPTS) < 1e-5


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("adapted", [False, True])
def test_four_bit_weights_are_dequantized_once_or_when_they_are_needed(tmp_path, adapted, once):
    model = in_four_bits(tmp_path)
    model = lora(model).eval().get_base_model() if adapted else model.eval()
    if (fused := fused_decoder(model, 64)) is None:
        pytest.skip("this processor's bitsandbytes has its own layout")
    if not once:
        for matrix in (each for layer in fused.matrices for each in layer):
            matrix.kept = None
        fused = FusedDecoder(model, fused.matrices, 64, once=False)
        assert fused.buffer is not None
    assert difference(fused, PROMPTS) < 1e-5


def test_a_frozen_models_weights_move_side_by_side_once_and_stay_its_own(tmp_path):
    model, plain = toy("llama").requires_grad_(False), toy("llama")
    first, again = (fused_decoder(model, 64).matrices[0][0].kept for _ in range(2))
    attention = model.model.layers[0].self_attn
    assert first.data_ptr() == again.data_ptr() == attention.q_proj.weight.data_ptr()
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name
    model.save_pretrained(tmp_path)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(weight, saved.state_dict()[name]) for name, weight in plain.state_dict().items())
    attention.k_proj.weight.data += 1
    assert torch.equal(fused_decoder(model, 64).matrices[0][0].kept[48:64], attention.k_proj.weight)


def test_weights_that_train_are_copied_as_they_are_at_each_call():
    model = toy("llama")
    before = generate_ids(model, PROMPTS, SETTINGS, STOP, PAD)
    pointer = model.model.layers[0].self_attn.q_proj.weight.data_ptr()
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.mul_(-1)
    assert generate_ids(model, PROMPTS, SETTINGS, STOP, PAD) != before
    assert model.model.layers[0].self_attn.q_proj.weight.data_ptr() == pointer


def test_layers_with_another_kind_of_adapter_are_transformers(capsys):
    config = LoraConfig(r=4, target_modules=["q_proj"], use_dora=True, init_lora_weights=False)
    model = get_peft_model(toy("llama"), config).eval()
    assert fused_decoder(model.get_base_model(), 64) is None
    apart = generate_ids(model, PROMPTS, SETTINGS, STOP, PAD)
    assert apart == generate_ids(model.merge_and_unload(), PROMPTS, SETTINGS, STOP, PAD)


def test_a_decoder_that_computes_something_else_is_not_used_and_said_so(monkeypatch, capsys):
    expected = generate_ids(toy("llama"), PROMPTS, SETTINGS, STOP, PAD)
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    assert generate_ids(toy("llama"), PROMPTS, SETTINGS, STOP, PAD) == expected
    assert "Generating through transformers' layers" in capsys.readouterr().out
