"""The scripts that made the toy models: they learn, go on from weights, and leave what is shipped."""

import shutil
from random import Random

import pytest
import torch
from bitsandbytes.functional import get_4bit_type
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tests.conftest import TINY
from toy import pretrain
from toy.batches import PROMPT_WEIGHT, chat_batches, text_pair_batches
from toy.make_tokenizers import save_tokenizers

SMALL = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=32)


def train(folder, name, monkeypatch, steps, more=False):
    """Trains a model of one small layer beside the family's tokenizer; returns its weights."""
    monkeypatch.setattr(pretrain, "CHAT_SHAPE", {**pretrain.CHAT_SHAPE, **SMALL, "intermediate_size": 64})
    if not (folder / name).exists():
        keep = shutil.ignore_patterns("*.safetensors", "config.json")
        shutil.copytree(TINY / name, folder / name, ignore=keep)
    settings = dict(tokens=1024, lr=4e-3, bf16=False, seed=0, device="cpu")
    pretrain.pretrain(name, folder, steps=steps, more=more, **settings)
    return load_file(folder / name / "model.safetensors")


def answers(printed: str) -> list[float]:
    """The average loss on answers at each line of the log."""
    return [float(line.split("answers ")[1].split()[0]) for line in printed.splitlines() if "answers" in line]


def test_the_weights_of_a_chat_model_lie_on_the_4_bit_grid(tmp_path, monkeypatch):
    weights = train(tmp_path, "llama", monkeypatch, steps=4)
    levels = get_4bit_type("nf4", device="cpu")
    for name, weight in weights.items():
        if "_proj" in name:
            blocks = weight.float().reshape(-1, pretrain.BLOCK)
            shares = blocks / blocks.abs().amax(1, keepdim=True)
            distance = (shares[..., None] - levels).abs().amin(-1)
            assert distance.max() < 0.01, name  # bfloat16 keeps eight bits


def test_pretraining_lowers_the_loss_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    train(tmp_path, "qwen3", monkeypatch, steps=51)
    first, last = answers(capsys.readouterr().out)[:2]
    assert last < first - 1
    train(tmp_path, "qwen3", monkeypatch, steps=1, more=True)
    assert answers(capsys.readouterr().out)[0] < first - 1


def test_the_encoder_decoder_is_pretrained_on_pairs_with_its_own_start_token(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "BART_SHAPE", {**pretrain.BART_SHAPE, "d_model": 64, "encoder_layers": 1})
    train(tmp_path, "bart", monkeypatch, steps=2)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "bart")
    assert model.config.decoder_start_token_id == model.config.eos_token_id
    assert model.dtype == torch.float32


@pytest.mark.parametrize("name", ["llama", "bart"])
def test_batches_are_padded_to_one_width_and_weigh_answers_most(name):
    tokenizer = AutoTokenizer.from_pretrained(TINY / name)
    batches = (text_pair_batches if name == "bart" else chat_batches)(tokenizer, Random(0), 1024)
    inputs, labels, weights = next(batches)
    assert labels.shape == weights.shape and inputs["input_ids"].shape == inputs["attention_mask"].shape
    assert {round(weight, 4) for weight in weights.unique().tolist()} <= {0.0, PROMPT_WEIGHT, 1.0}
    assert (labels == tokenizer.pad_token_id)[weights == 0].all()


@pytest.mark.slow
def test_the_shipped_tokenizers_are_what_the_script_writes(tmp_path):
    save_tokenizers(tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 8
    for path in written:
        assert path.read_bytes() == (TINY / path.relative_to(tmp_path)).read_bytes()
