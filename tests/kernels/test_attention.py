"""Documents of a pack never see one another; padded batches and generation are those of sdpa."""

import pytest
import torch

from dialsum_trl.kernels.attention import attend, attend_backward
from tests.fused_models import FAMILIES, documents, lora_model, pack, token_losses


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_pack_is_that_of_its_documents_alone(family):
    model, rows = lora_model(family).eval().requires_grad_(False), documents()
    model.set_attn_implementation("sdpa")
    alone = torch.cat(
        [token_losses(model, {k: torch.tensor([row[k]]) for k in ("input_ids", "labels")}) for row in rows]
    )
    model.set_attn_implementation("packed")
    packed = token_losses(model, pack(rows))
    assert abs(float(packed.sum() - alone.sum())) / float(alone.sum()) < 1e-5
    assert torch.allclose(packed[packed > 0], alone[alone > 0], atol=1e-5)


def test_changing_one_document_leaves_the_losses_of_the_others_bit_for_bit():
    model, rows = lora_model().eval(), documents()
    before = token_losses(model, pack(rows))
    rows[1]["input_ids"] = [1, 2, 3, 4, 5]
    after = token_losses(model, pack(rows))
    start, end = 17, 22
    assert torch.equal(before[: start - 1], after[: start - 1])
    assert torch.equal(before[end - 1 :], after[end - 1 :])
    assert not torch.equal(before[start:end], after[start:end])


@pytest.mark.parametrize("family", ["llama", "gemma3", "exaone4 with windows", "mistral"])
def test_left_padded_generation_under_packed_attention_is_that_of_sdpa(family):
    model = lora_model(family).eval()
    ids = torch.tensor([[0, 0, 0, 7, 8, 9], [4, 5, 6, 7, 8, 9]])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    outputs = []
    for name in ("packed", "sdpa"):
        model.set_attn_implementation(name)
        outputs.append(
            model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False, num_beams=2, pad_token_id=0
            )
        )
    assert torch.equal(*outputs)


@pytest.mark.parametrize("family", ["llama", "gemma3", "exaone4 with windows", "mistral"])
def test_padded_batches_and_rows_without_edges_have_the_logits_of_sdpa(family):
    model = lora_model(family).eval()
    ids, mask = torch.randint(0, 96, (2, 19)), torch.ones(2, 19, dtype=torch.long)
    mask[1, 6:] = 0
    packed = model(input_ids=ids, attention_mask=mask).logits, model(input_ids=ids[:1]).logits
    model.set_attn_implementation("sdpa")
    plain = model(input_ids=ids, attention_mask=mask).logits, model(input_ids=ids[:1]).logits
    assert torch.equal(packed[0][mask.bool()], plain[0][mask.bool()])
    assert torch.equal(packed[1], plain[1])


def test_gradients_of_document_attention_are_those_of_one_attention_with_a_block_mask():
    torch.manual_seed(0)
    query, key, value = (torch.randn(20, heads, 8, dtype=torch.float64) for heads in (4, 2, 2))
    bounds = torch.tensor([0, 7, 7, 20], dtype=torch.int32)  # an empty document in between
    documents = torch.bucketize(torch.arange(20), bounds[1:].long(), right=True)
    allowed = (documents[:, None] == documents) & (torch.arange(20)[:, None] >= torch.arange(20))
    parts = [x.clone().requires_grad_() for x in (query, key, value)]
    q, k, v = (x.transpose(0, 1) for x in parts)
    full = torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(2, 0), v.repeat_interleave(2, 0), attn_mask=allowed, scale=0.3
    ).transpose(0, 1)
    out, saved = attend(query, key, value, bounds, 13, 0.3)
    assert torch.allclose(out, full)
    grad = torch.randn_like(out)
    expected = torch.autograd.grad(full, parts, grad)
    for found, wanted in zip(
        attend_backward(grad, query, key, value, out, saved, bounds, 13, 0.3), expected, strict=True
    ):
        assert torch.allclose(found, wanted)


def test_packed_attention_refuses_what_it_would_get_wrong():
    model = lora_model()
    batch = pack(documents())
    two_rows = {
        **batch,
        "input_ids": batch["input_ids"].repeat(2, 1),
        "position_ids": batch["position_ids"].repeat(2, 1),
    }
    with pytest.raises(ValueError, match="one row of documents"):
        token_losses(model, two_rows)
