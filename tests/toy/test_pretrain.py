"""The scripts that made the toy models: they learn, and leave what is shipped."""

import shutil

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from dialsum_trl.prompts.templates import PINNED_DATE
from tests.conftest import TINY
from toy import pretrain
from toy.batches import PROMPT_WEIGHT, Chats, TextPairs, batches, encode_chat
from toy.make_tokenizers import save_tokenizers

SMALL = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=32)


def train(folder, name, monkeypatch, steps, **change):
    """Trains a model of one small layer beside the family's tokenizer; returns its weights."""
    monkeypatch.setattr(pretrain, "CHAT_SHAPE", {**pretrain.CHAT_SHAPE, **SMALL, "intermediate_size": 64})
    shutil.copytree(TINY / name, folder / name, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    settings = dict(rows=3, lr=4e-3, seed=0, device="cpu") | change
    pretrain.pretrain(name, folder, steps=steps, **settings)
    return load_file(folder / name / "model.safetensors")


def answers(printed: str) -> list[float]:
    """The loss on answers at each line of the log."""
    return [float(line.split("answers ")[1].split()[0]) for line in printed.splitlines() if "answers" in line]


def test_weights_are_rounded_to_4_bits_as_bitsandbytes_rounds_them():
    weight = torch.randn(96, 128, generator=torch.Generator().manual_seed(0))
    packed, state = quantize_4bit(weight, blocksize=pretrain.BLOCK, quant_type="nf4")
    assert torch.equal(pretrain.RoundedToNF4()(weight), dequantize_4bit(packed, state))


def test_the_weights_of_a_chat_model_lie_on_the_4_bit_grid(tmp_path, monkeypatch):
    for name, weight in train(tmp_path, "llama", monkeypatch, steps=4).items():
        if "_proj" in name:
            weight = weight.float()
            scale = weight.reshape(-1, pretrain.BLOCK).abs().amax(1, keepdim=True)
            distance = (pretrain.RoundedToNF4()(weight) - weight).reshape(-1, pretrain.BLOCK).abs() / scale
            assert distance.max() < 0.01, name  # bfloat16 keeps eight bits


def test_pretraining_lowers_the_loss(tmp_path, monkeypatch, capsys):
    train(tmp_path, "qwen3", monkeypatch, steps=51)
    first, last = answers(capsys.readouterr().out)
    assert last < first - 1


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, monkeypatch):
    one, same, other = (
        train(tmp_path / folder, "llama", monkeypatch, steps=3, seed=seed, workers=workers)
        for folder, seed, workers in (("one", 0, 0), ("same", 0, 2), ("other", 1, 0))
    )
    assert all(torch.equal(weight, same[name]) for name, weight in one.items())
    assert not all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_the_encoder_decoder_is_pretrained_on_pairs_with_its_own_start_token(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "BART_SHAPE", {**pretrain.BART_SHAPE, "d_model": 64, "encoder_layers": 1})
    train(tmp_path, "bart", monkeypatch, steps=2)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "bart")
    assert model.config.decoder_start_token_id == model.config.eos_token_id
    assert model.dtype == torch.float32


@pytest.mark.parametrize(("name", "kind"), [("llama", Chats), ("bart", TextPairs)])
def test_batches_are_padded_to_one_width_and_weigh_answers_most(name, kind):
    tokenizer = AutoTokenizer.from_pretrained(TINY / name)
    inputs, labels, weights = next(batches(kind(tokenizer, 0, 3)))
    assert labels.shape == weights.shape and len(inputs["input_ids"]) == len(labels) == 3
    assert {round(weight, 4) for weight in weights.unique().tolist()} <= {0.0, PROMPT_WEIGHT, 1.0}
    assert (labels == tokenizer.pad_token_id)[weights == 0].all()


@pytest.mark.parametrize(("name", "end"), [("llama", "<|eot_id|>"), ("qwen3", "<|im_end|>")])
def test_an_answer_counts_in_full_to_the_end_of_its_turn(name, end):
    tokenizer = AutoTokenizer.from_pretrained(TINY / name)
    turns = (
        ("system", "도우미"),
        ("user", "이름?"),
        ("assistant", "지영"),
        ("user", "지영?"),
        ("assistant", "네, 지영 씨."),
    )
    messages = [{"role": role, "content": content} for role, content in turns]
    ids, weights = encode_chat(tokenizer, messages)
    counted = [token for token, weight in zip(ids, weights, strict=True) if weight == 1]
    assert tokenizer.decode(counted) == f"지영{end}네, 지영 씨.{end}"
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, date_string=PINNED_DATE)
    assert ids == tokenizer(rendered, add_special_tokens=False).input_ids


@pytest.mark.slow
def test_the_shipped_tokenizers_are_what_the_script_writes(tmp_path):
    save_tokenizers(tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 8
    for path in written:
        assert path.read_bytes() == (TINY / path.relative_to(tmp_path)).read_bytes()
