"""Padded batches on packs: the numbers of the padded path, for each adapter, forward and backward."""

import pytest
import torch

from dialsum_trl.models.adapters import CRITIC, POLICY, REFERENCE
from dialsum_trl.rl.adapter_roles import active_adapter
from dialsum_trl.rl.packed_forwards import pack
from tests import phase3_toys as toys
from tests.ppo_toys import gradients, make_trainer, rollout

ADAPTERS = (POLICY, REFERENCE, CRITIC)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    base = toys.make_base(folder / "base")
    return {"base": base, "sft": toys.make_adapter(base, folder / "sft", toys.ALL)}


def seeded(folders, output_dir, **changes):
    torch.manual_seed(3)  # the value head is drawn
    return make_trainer(folders, output_dir, **changes)


def trainers(folders, tmp_path, **changes):
    """A trainer on packs and a padded one, with the same three different adapters."""
    made = [seeded(folders, tmp_path / str(fast), fast=fast, **changes) for fast in (True, False)]
    assert [trainer.packs for trainer in made] == [True, False]
    for trainer in made:
        draw = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for name, parameter in sorted(trainer.model.named_parameters()):
                if f".{REFERENCE}." in name or f".{CRITIC}." in name or "value_head" in name:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return made


def uneven(batch):
    """A rollout whose completions have different lengths."""
    lengths = torch.tensor([1, 6, 2, 5, 3, 4, 6, 1])
    batch["completion_mask"] = (torch.arange(batch["completion_mask"].shape[1]) < lengths[:, None]).long()
    batch["num_items_in_batch"] = batch["completion_mask"].sum()
    return batch


PADDED = torch.tensor([[0, 5, 6, 7, 1], [0, 0, 8, 2, 3], [5, 6, 7, 4, 9]])


def test_a_pack_holds_every_row_as_a_document_and_knows_where_its_tokens_are():
    inputs, places = pack(PADDED, (PADDED != 0).long(), share=False)
    assert inputs["input_ids"][0, :12].tolist() == [5, 6, 7, 1, 8, 2, 3, 5, 6, 7, 4, 9]
    assert inputs["position_ids"][0, :12].tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4]
    assert inputs["cu_seq_lens_q"].tolist() == [0, 4, 7, 12, 128] and inputs["shared_keys"] is None
    kept = PADDED != 0
    assert torch.equal(inputs["input_ids"][0, places][kept], PADDED[kept])


def test_what_two_rows_begin_with_is_in_the_pack_once_and_both_attend_to_it():
    inputs, places = pack(PADDED, (PADDED != 0).long())
    assert inputs["input_ids"][0, :9].tolist() == [5, 6, 7, 1, 8, 2, 3, 4, 9]
    assert inputs["position_ids"][0, :9].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert inputs["cu_seq_lens_q"].tolist() == [0, 4, 7, 9, 128]
    assert inputs["shared_keys"].places[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 7, 8]
    kept = PADDED != 0
    assert torch.equal(inputs["input_ids"][0, places][kept], PADDED[kept])


def test_rows_that_are_alike_keep_a_token_of_their_own():
    inputs, places = pack(torch.tensor([[3, 4, 5]] * 2), torch.ones(2, 3, dtype=torch.long))
    assert inputs["cu_seq_lens_q"].tolist() == [0, 3, 4, 128] and places.tolist() == [[0, 1, 2], [0, 1, 3]]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_log_probabilities_and_values_are_those_of_the_padded_path(folders, tmp_path, adapter):
    fast, padded = trainers(folders, tmp_path)
    batch = uneven(rollout(padded))
    found = []
    for trainer in (fast, padded):
        with torch.no_grad(), active_adapter(trainer.model, adapter):
            numbers = [*trainer.forwards.logps(batch), trainer.forwards.values(batch)]
        found.append([value * batch["completion_mask"] for value in numbers])
    for mine, theirs in zip(*found, strict=True):
        assert mine.abs().sum() > 0
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_adapters_differ_on_packs(folders, tmp_path):
    fast, _ = trainers(folders, tmp_path)
    batch = uneven(rollout(fast))
    found = []
    for adapter in ADAPTERS:
        with torch.no_grad(), active_adapter(fast.model, adapter):
            found.append(fast.forwards.logps(batch)[0])
    assert not torch.allclose(found[0], found[1], atol=1e-4) and not torch.allclose(found[0], found[2], atol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_policy_and_critic_are_those_of_the_padded_path(folders, tmp_path, checkpointing):
    fast, padded = trainers(folders, tmp_path, gradient_checkpointing=checkpointing)
    batch = uneven(rollout(padded))
    mine, theirs = gradients(fast, batch), gradients(padded, batch)
    assert mine.keys() == theirs.keys()
    for name in theirs:
        assert torch.allclose(mine[name], theirs[name], atol=1e-5), name


def test_mini_batches_on_packs_add_up_to_the_whole(folders, tmp_path):
    fast, _ = trainers(folders, tmp_path)
    batch = uneven(rollout(fast))
    whole, parts = gradients(fast, batch, 1), gradients(fast, batch, 4)
    for name in whole:
        assert torch.allclose(whole[name], parts[name], atol=1e-5), name


def test_a_run_on_packs_ends_with_the_adapter_of_the_padded_run(folders, tmp_path):
    ends = []
    for fast in (True, False):
        trainer = seeded(folders, tmp_path / str(fast), fast=fast, max_steps=2, learning_rate=1e-3)
        trainer.train()
        ends.append({n: p.detach() for n, p in trainer.model.named_parameters() if p.requires_grad})
    for name in ends[0]:
        assert torch.allclose(ends[0][name], ends[1][name], atol=1e-4), name


def test_adapters_that_cannot_be_fused_take_the_padded_way_and_say_so(folders, tmp_path, capsys):
    sft = toys.make_adapter(folders["base"], tmp_path / "partial")
    trainer = make_trainer({**folders, "sft": sft}, tmp_path / "out")
    assert not trainer.packs
    assert "Padded, not fused: not every projection has a LoRA adapter" in capsys.readouterr().out


def test_noise_that_is_scaled_by_the_length_of_a_row_is_not_for_packs(folders, tmp_path, capsys):
    assert not seeded(folders, tmp_path, neftune_noise_alpha=5.0).packs
    assert "Padded, not fused: transformers scales the noise of --neftune_noise_alpha" in capsys.readouterr().out
