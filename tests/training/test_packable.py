"""Documents share a row only where the model keeps them apart; anything else trains padded, and says so."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dialsum_trl.kernels.attention import register
from dialsum_trl.kernels.mixers import separate_documents
from dialsum_trl.training.packing.prepare import packable, prepare
from tests.fused_models import arguments, difference, documents, loss_and_gradients, pack

SIZES = dict(
    vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=256, pad_token_id=0,
)  # fmt: skip
GROUPED = dict(num_key_value_heads=2)
LONGROPE = dict(
    rope_type="longrope",
    rope_theta=1e4,
    original_max_position_embeddings=64,
    short_factor=[1.0] * 8,
    long_factor=[4.0] * 8,
)
DELTA_NET = dict(
    head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16,
    layer_types=["linear_attention", "full_attention"],
)  # fmt: skip
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
        ("mistral", dict(GROUPED, sliding_window=8)),
        ("exaone4", dict(GROUPED, sliding_window=8, sliding_window_pattern=2)),
        ("qwen3_5_text", dict(GROUPED, **DELTA_NET)),
    ],
)
def test_families_that_keep_documents_apart_are_packed(family, sizes):
    model = toy(family, **sizes)
    separate_documents(model)
    usual = model.config._attn_implementation
    assert packable(model, 100) is None
    assert model.config._attn_implementation == usual


@pytest.mark.parametrize(
    ("family", "sizes", "reason"),
    [
        ("gemma2", dict(GROUPED, head_dim=16), "capped"),
        ("gpt_oss", dict(EXPERTS, sliding_window=512), "attention sinks"),
        ("phi3", dict(GROUPED, original_max_position_embeddings=64, rope_parameters=LONGROPE), "longer than 64 tokens"),
        ("bloom", dict(n_head=4), "ALiBi"),
        ("mamba", dict(state_size=8), "documents in one row see one another"),
    ],
)
def test_families_that_do_not_are_named(family, sizes, reason):
    assert reason in packable(toy(family, **sizes), 100)


def test_such_a_model_is_left_as_it_was_and_trains_padded(tmp_path):
    model, args = toy("mamba", state_size=8), arguments(tmp_path)
    before = args.to_dict()
    path, rows = prepare(model, args, [100, 20], 0, "none", None)
    assert path is None and rows.startswith("padded: documents in one row see one another")
    assert args.to_dict() == before


def test_recurrent_layers_are_packed_only_where_each_document_is_a_row_of_theirs():
    model = toy("qwen3_5_text", **GROUPED, **DELTA_NET)
    assert "can't keep packed sequences apart" in packable(model, 100)
    separate_documents(model)
    assert packable(model, 100) is None


def test_gradients_of_a_recurrent_model_are_those_of_its_documents_alone():
    model, rows = toy("qwen3_5_text", **GROUPED, **DELTA_NET), documents()
    expected = {}
    for row in rows:
        alone = {name: torch.tensor([row[name]]) for name in ("input_ids", "labels")}
        for name, gradient in loss_and_gradients(model, alone)[1].items():
            expected[name] = expected.get(name, 0) + gradient
    separate_documents(model)
    model.set_attn_implementation(register())
    assert difference(loss_and_gradients(model, pack(rows))[1], expected) < 1e-5


def test_noise_that_is_scaled_by_the_length_of_a_row_is_not_for_packs(tmp_path):
    args = arguments(tmp_path, neftune_noise_alpha=5.0)
    path, rows = prepare(toy("llama", **GROUPED), args, [20] * 8, 0, "none", None)
    assert path is None and rows.startswith("padded: transformers scales the noise of --neftune_noise_alpha")


def test_polyglot_is_packed_and_not_fused(tmp_path):
    path, rows = prepare(toy("gpt_neox"), arguments(tmp_path), [20] * 8, 0, "none", None)
    assert not path.fused and rows == "packed, plain layers: no LoRA adapter"
