"""Documents share a row only where the model keeps them apart; anything else trains padded, and says so."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dialsum_trl.kernels.attention import register
from dialsum_trl.training.packing.packs import PackCollator
from dialsum_trl.training.packing.prepare import packable, prepare
from tests.fused_models import arguments

SIZES = dict(
    vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=256, pad_token_id=0,
)  # fmt: skip
GROUPED = dict(num_key_value_heads=2)
EXPERTS = dict(GROUPED, head_dim=16, num_local_experts=2, num_experts_per_tok=1)


def toy(family, **sizes):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SIZES, **sizes}))


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("llama", GROUPED),
        ("gpt_neox", {}),  # Polyglot-Ko
        ("mistral", dict(GROUPED, sliding_window=4096)),
        ("exaone4", dict(GROUPED, sliding_window=4096, sliding_window_pattern=2)),
    ],
)
def test_families_that_keep_documents_apart_are_packed(family, sizes):
    model = toy(family, **sizes)
    usual = model.config._attn_implementation
    assert packable(model, 100) is None
    assert model.config._attn_implementation == usual


@pytest.mark.parametrize(
    ("family", "sizes", "reason"),
    [
        ("mistral", dict(GROUPED, sliding_window=8), "looks back 8 tokens only, and a row has 100"),
        ("gemma3_text", dict(GROUPED, head_dim=16, sliding_window=8), "looks back 8 tokens only"),
        ("gpt_oss", dict(EXPERTS, sliding_window=512), "without windows and sinks"),
        ("bloom", dict(n_head=4), "ALiBi"),
        ("mamba", dict(state_size=8), "documents in one row see one another"),
    ],
)
def test_families_that_do_not_are_named(family, sizes, reason):
    assert reason in packable(toy(family, **sizes), 100)


def test_such_a_model_is_left_as_it_was_and_trains_padded(tmp_path, capsys):
    model, args = toy("mistral", **GROUPED, sliding_window=8), arguments(tmp_path)
    before = args.to_dict()
    assert prepare(model, args, [100, 20], 0, "none", None) is None
    assert args.to_dict() == before and model.config._attn_implementation == "sdpa"
    assert "Padded, not packed: its attention looks back 8 tokens only" in capsys.readouterr().out


def test_noise_that_is_scaled_by_the_length_of_a_row_is_not_for_packs(tmp_path, capsys):
    args = arguments(tmp_path, neftune_noise_alpha=5.0)
    assert prepare(toy("llama", **GROUPED), args, [20] * 8, 0, "none", None) is None
    assert "Padded, not packed: transformers scales the noise of --neftune_noise_alpha" in capsys.readouterr().out


def test_polyglot_is_packed_and_not_fused(tmp_path, capsys):
    assert prepare(toy("gpt_neox"), arguments(tmp_path), [20] * 8, 0, "none", None).fused is False
    assert "Packed, but not fused" in capsys.readouterr().out


def test_a_window_shorter_than_a_document_is_refused_by_the_attention_itself():
    model = toy("mistral", **GROUPED, sliding_window=8)
    model.set_attn_implementation(register())
    pack = PackCollator(0)([{"input_ids": list(range(20)), "labels": list(range(20))}])
    pack.pop("labels")
    with pytest.raises(ValueError, match="without windows and sinks"):
        model(**pack, use_cache=False)
