"""Fused layers compute what transformers' and PEFT's modules compute: loss, gradients, and the same dropout again."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from dialsum_trl.kernels.fused import torch_ops
from dialsum_trl.kernels.fused.attach import attach, check, why_not_fused
from dialsum_trl.kernels.fused.layer import KEEP
from dialsum_trl.models.base import quantization_config
from tests.fused_models import FAMILIES, difference, documents, lora_model, loss_and_gradients, pack, token_losses


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_plain_layers(family, keep):
    model, batch = lora_model(family), pack(documents())
    loss, gradients = loss_and_gradients(model, batch)
    assert why_not_fused(model) is None
    attach(model, [keep] * 3)
    fused_loss, fused_gradients = loss_and_gradients(model, batch)
    assert fused_loss == pytest.approx(loss, rel=1e-6)
    assert difference(fused_gradients, gradients) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_changing_one_document_leaves_the_losses_of_the_others_bit_for_bit(family):
    model, rows = lora_model(family).eval(), documents()
    attach(model)
    before = token_losses(model, pack(rows))
    rows[1]["input_ids"] = [1, 2, 3, 4, 5]
    after = token_losses(model, pack(rows))
    assert torch.equal(before[:16], after[:16]) and torch.equal(before[21:], after[21:])
    assert not torch.equal(before[17:22], after[17:22])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_check_at_the_start_of_a_training_passes(family):
    model = lora_model(family)
    assert check(attach(model)) < 1e-5


def test_documents_whose_queries_are_scaled_by_their_position_take_the_plain_way():
    model, batch = lora_model("ministral3"), pack(documents((80, 20)))
    loss, gradients = loss_and_gradients(model, batch)
    attach(model)
    fused_loss, fused_gradients = loss_and_gradients(model, batch)
    assert fused_loss == loss and difference(fused_gradients, gradients) == 0


def test_layers_may_keep_different_amounts():
    model, batch = lora_model(), pack(documents())
    loss, gradients = loss_and_gradients(model, batch)
    attach(model, ["layer", "mlp", "all"])
    fused_loss, fused_gradients = loss_and_gradients(model, batch)
    assert fused_loss == pytest.approx(loss, rel=1e-6)
    assert difference(fused_gradients, gradients) < 1e-5


@pytest.mark.parametrize("rank", [4, 16, 24, 128])
def test_any_rank_is_padded_without_a_trace(rank):
    model, batch = lora_model(rank=rank), pack(documents())
    _, gradients = loss_and_gradients(model, batch)
    attach(model)
    assert difference(loss_and_gradients(model, batch)[1], gradients) < 1e-5


def test_four_bit_bases_give_the_plain_loss_and_gradients(tmp_path):
    source = lora_model()
    source.unload().save_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=quantization_config("4bit", "float32"), dtype=torch.float32, device_map="cpu"
    )
    model, batch = lora_model(base=base), pack(documents())
    loss, gradients = loss_and_gradients(model, batch)
    reason = why_not_fused(model)
    if reason:
        assert "repacks" in reason  # this processor's bitsandbytes has its own layout
        return
    attach(model)
    fused_loss, fused_gradients = loss_and_gradients(model, batch)
    assert fused_loss == pytest.approx(loss, rel=1e-5)
    assert difference(fused_gradients, gradients) < 1e-4
    attach(model, resident=True)
    assert difference(loss_and_gradients(model, batch)[1], fused_gradients) < 1e-6


def test_recomputing_layers_meet_the_same_dropout_masks_again():
    gradients = []
    for keep in KEEP:
        model = lora_model(dropout=0.2)
        attach(model, [keep] * 3)
        torch.manual_seed(5)
        gradients.append(loss_and_gradients(model, pack(documents()))[1])
    assert all(torch.equal(gradients[0][k], other[k]) for other in gradients[1:] for k in other)


@pytest.mark.parametrize("name", ["0.self_attn.k_proj.lora_A", "1.mlp.down_proj.lora_A", "2.self_attn.o_proj.lora_A"])
def test_with_dropout_the_gradient_is_the_slope_of_the_loss(name):
    model, batch = lora_model("qwen3", dropout=0.2).double(), pack(documents())
    attach(model)
    torch.manual_seed(5)
    gradients = loss_and_gradients(model, batch)[1]
    key = next(k for k in gradients if name in k)
    parameter = dict(model.named_parameters())[key]
    direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).double()
    losses = []
    for step in (5e-4, -5e-4):
        parameter.data += step * direction
        torch.manual_seed(5)
        losses.append(token_losses(model, batch).sum().item())
        parameter.data -= step * direction
    assert (losses[0] - losses[1]) / 1e-3 == pytest.approx(float((gradients[key] * direction).sum()), rel=2e-3)


def test_dropout_drops_its_share_independently_in_every_adapter():
    masks = [torch_ops._keep((400, 500), key, half, 0.05, "cpu") for key in (11, 222) for half in (0, 1)]
    for mask in masks:
        assert float((~mask).float().mean()) == pytest.approx(0.05, abs=0.003)
        assert float((~mask).float().mean(0).std()) == pytest.approx((0.05 * 0.95 / 400) ** 0.5, rel=0.2)
    for other in masks[1:]:
        assert float((~masks[0] & ~other).float().mean()) == pytest.approx(0.0025, abs=0.0006)


def test_evaluation_has_no_dropout_and_another_seed_another_mask():
    model, batch = lora_model(dropout=0.3), pack(documents())
    attach(model)
    with torch.no_grad():
        assert not torch.equal(token_losses(model, batch), token_losses(model, batch))
        model.eval()
        assert torch.equal(token_losses(model, batch), token_losses(model, batch))


def test_generation_and_a_disabled_adapter_take_the_plain_way():
    model, batch = lora_model().eval(), pack(documents())
    with model.disable_adapter():
        base = token_losses(model, batch)
    ids = torch.tensor([[5, 6, 7]])
    plain = model.generate(input_ids=ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
    attach(model)
    with model.disable_adapter():
        assert torch.equal(token_losses(model, batch), base)
    assert torch.equal(model.generate(input_ids=ids, max_new_tokens=5, do_sample=False, pad_token_id=0), plain)


def test_the_check_finds_agreement_and_its_absence():
    model = lora_model()
    layers = attach(model)
    assert check(layers) < 1e-5
    weight, eps = layers[0].attention_norm
    layers[0].attention_norm = (weight * 1.2, eps)
    assert check(layers) > 0.05


@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"target_modules": ["q_proj", "v_proj"]}, "not every projection"),
        ({"rank_pattern": {"v_proj": 2}}, "different LoRA settings"),
        ({"rank": 512}, "rank above 256"),
    ],
)
def test_what_cannot_be_fused_is_named(lora, reason):
    assert reason in why_not_fused(lora_model(**lora))
