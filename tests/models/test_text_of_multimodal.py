"""LoRA where a base is more than a dense language model: towers for pictures, experts that are parameters."""

import shutil

import pytest
import torch
import transformers
from peft import get_peft_model
from safetensors import safe_open

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.models.lora import lora_config, lora_targets
from dialsum_trl.stages.sft import train_sft
from tests import phase3_toys as toys

SIZES = dict(
    vocab_size=2048, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, bos_token_id=2036, eos_token_id=[2045, 2037],
    pad_token_id=2040,
)  # fmt: skip


def gemma3():
    """A whole multimodal model, which transformers loads for text too."""
    vision = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = transformers.Gemma3TextConfig(**SIZES, sliding_window=512)
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=2047
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def qwen3_5():
    """A multimodal repository, out of which transformers loads the text model alone."""
    text = SIZES | {
        "eos_token_id": 2045, "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4,
        "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    }  # fmt: skip
    vision = dict(depth=2, hidden_size=32, num_heads=2, intermediate_size=64, out_hidden_size=64, patch_size=14)
    config = transformers.Qwen3_5Config(text_config=text, vision_config=vision)
    return transformers.AutoModelForImageTextToText.from_config(config)


@pytest.mark.parametrize("make", [gemma3, qwen3_5])
def test_sft_of_a_multimodal_base_trains_and_saves_lora_on_its_language_model_alone(make, tmp_path):
    torch.manual_seed(0)
    base = tmp_path / "base"
    make().save_pretrained(base)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(toys.TINY / "llama" / name, base)
    settings = {
        "model_name_or_path": base, "dtype": "float32", "quantization": "none", "use_cpu": "true", "rouge_rows": 0,
        "effective_batch_size": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "max_steps": 2,
        "warmup_steps": 0, "optim": "adamw_torch", "disable_tqdm": "true", "output_dir": tmp_path / "adapter",
        "train_file": toys.TINY / "data" / "dev.csv",
    }  # fmt: skip
    train_sft({}, toys.flags(settings))
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as file:
        names = list(file.keys())
    assert names and all("lora_" in name and "vision" not in name for name in names)
    load_adapter(load_base(str(base), dtype="float32", quantization="none"), tmp_path / "adapter")


def test_layers_that_can_have_lora_are_those_of_the_language_model():
    with pytest.raises(InputError, match="--lora_target_modules qkv: the model has no such layers; it has") as error:
        lora_targets(gemma3(), ["qkv"])
    assert "gate_proj" in str(error.value) and "fc1" not in str(error.value) and "lm_head" not in str(error.value)


def test_dropout_is_left_out_where_experts_are_parameters(capsys):
    config = transformers.Qwen3MoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64)
    base = transformers.AutoModelForCausalLM.from_config(config)
    flags = ModelArguments()
    assert flags.lora_dropout > 0
    settings = lora_config(flags, base=base)
    assert settings.lora_dropout == 0 and "no LoRA dropout" in capsys.readouterr().out
    only_attention = ModelArguments(lora_target_modules=["q_proj", "v_proj"])
    assert lora_config(only_attention, base=base).lora_dropout == flags.lora_dropout
    get_peft_model(base, settings)


def test_a_dense_base_keeps_dropout_and_every_layer():
    base = load_base(str(toys.TINY / "llama"), dtype="float32", quantization="none")
    settings = lora_config(ModelArguments(), base=base)
    assert settings.lora_dropout == ModelArguments().lora_dropout and settings.exclude_modules is None
