"""Tokenizer, base and LoRA fit one another; what cannot load says so in one line."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.base import load_base, quantization_config, resize_embeddings
from dialsum_trl.models.lora import lora_config, lora_targets
from dialsum_trl.prompts.chat_tokens import add_missing_chat_tokens
from dialsum_trl.prompts.tokenizer import load_tokenizer
from tests.conftest import TINY


@pytest.mark.parametrize("load", [load_tokenizer, load_base])
def test_a_model_that_cannot_be_reached_is_one_line(load):
    with pytest.raises(InputError, match="nobody/nothing") as caught:
        load("nobody/nothing")
    assert "\n" not in str(caught.value) and "local folder" in str(caught.value)


@pytest.mark.parametrize("load", [load_tokenizer, load_base])
@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "../nowhere", "~/nowhere", "outputs/run/nowhere"])
def test_a_path_that_is_not_there_is_no_malformed_hub_id(load, name):
    with pytest.raises(InputError, match=f"^{name}: no such folder; give the folder of a model, or a Hub id"):
        load(name)


def test_a_home_that_the_shell_left_alone_is_written_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match=f"~/model: the ~ was not replaced by the shell; give {tmp_path}/model"):
        load_tokenizer("~/model")


def test_a_4bit_base_keeps_head_and_embeddings_unquantized():
    model = load_base(str(TINY / "llama"), dtype="float32", device="cpu")
    assert type(model.model.layers[0].self_attn.q_proj).__name__ == "Linear4bit"
    assert type(model.get_output_embeddings()) is torch.nn.Linear


def test_4bit_compute_follows_the_dtype():
    config = quantization_config("4bit", "float16")
    assert str(config.bnb_4bit_compute_dtype) == "torch.float16" and config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_use_double_quant


def test_missing_chat_tokens_are_added_and_the_embeddings_make_room():
    tokenizer = load_tokenizer(str(TINY / "qwen3"))
    tokenizer.chat_template = load_tokenizer(str(TINY / "llama")).chat_template
    model = load_base(str(TINY / "qwen3"), dtype="float32", quantization="none", device="cpu")
    before = len(tokenizer)
    added = add_missing_chat_tokens(tokenizer)
    resize_embeddings(model, tokenizer)
    assert len(added) == 4 and len(tokenizer) == before + 4
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)


def test_a_complete_vocabulary_changes_nothing():
    tokenizer = load_tokenizer(str(TINY / "llama"))
    model = load_base(str(TINY / "llama"), dtype="float32", quantization="none", device="cpu")
    rows = model.get_input_embeddings().num_embeddings
    resize_embeddings(model, tokenizer)
    assert add_missing_chat_tokens(tokenizer) == [] and model.get_input_embeddings().num_embeddings == rows


def test_rows_of_added_tokens_are_trained():
    assert lora_config(ModelArguments(), added=[7, 8]).trainable_token_indices == {"embed_tokens": [7, 8]}


def test_an_architecture_without_the_default_layers_gets_lora_on_its_own():
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=8, bos_token_id=1, eos_token_id=1))
    assert lora_targets(model, ModelArguments().lora_target_modules) == ["c_attn", "c_fc", "c_proj"]
    with pytest.raises(InputError, match="q_proj k_proj: the model has no such layers; it has c_attn, c_fc, c_proj"):
        lora_targets(model, ["q_proj", "k_proj"])
