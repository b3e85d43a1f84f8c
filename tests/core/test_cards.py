"""One rule decides on dtype, attention and layers of a card; doctor, plan, precision and dispatch follow it."""

import pytest
import torch

from benchmarks.as_card import SHARED
from dialsum_trl.cli import doctor
from dialsum_trl.cli.cards_table import rows, show_cards
from dialsum_trl.core.cards import CARDS, Device, card_of, choice
from dialsum_trl.core.errors import InputError
from dialsum_trl.kernels import attention, tiles
from dialsum_trl.kernels.attention import attend, attend_backward, kernel_of
from dialsum_trl.kernels.fused.attach import why_not_fused
from dialsum_trl.models.devices import wide_dtype
from dialsum_trl.training.precision import match_precision
from tests.conftest import ROOT
from tests.fused_models import lora_model

# capability -> dtype of a bf16 recipe, attention in packs, layers
CHOICES = {
    (7, 0): ("float16", "efficient", "plain"),
    (7, 5): ("float16", "efficient", "fused"),
    (8, 0): ("bfloat16", "flash", "fused"),
    (8, 6): ("bfloat16", "flash", "fused"),
    (8, 9): ("bfloat16", "flash", "fused"),
    (9, 0): ("bfloat16", "flash", "fused"),
    (10, 0): ("bfloat16", "flash", "fused"),
    (12, 0): ("bfloat16", "flash", "fused"),
}


@pytest.fixture(params=CHOICES, ids=str)
def capability(request, monkeypatch):
    """A machine with one GPU of that capability, as torch would report it."""
    gib = doctor.GIB
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=0: "A card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=0: request.param)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index=0: (15 * gib, 16 * gib))
    return request.param


class OnGpu:
    """What dispatch asks of a tensor."""

    is_cuda, device, shape = True, torch.device("cpu"), (8, 4, 128)

    def __init__(self, dtype):
        self.dtype = dtype


def values(**more):
    return {"dtype": "bfloat16", "use_cpu": False, "optim": "adamw_torch", "quantization": "4bit"} | more


def test_precision_dispatch_and_doctor_follow_one_rule(capability, capsys):
    dtype, kernel, layers = CHOICES[capability]
    assert choice(capability) == CHOICES[capability]
    settings = values()
    match_precision(settings, set())
    assert settings["dtype"] == dtype and (settings["fp16"], settings["bf16"]) == (
        dtype == "float16",
        dtype == "bfloat16",
    )
    said = capsys.readouterr().out
    assert wide_dtype() == ("float32" if dtype == "float16" else "bfloat16")
    assert ("float16 for bfloat16: A card (compute capability" in said) == (dtype == "float16")
    assert kernel_of(OnGpu(getattr(torch, dtype))) == kernel
    assert kernel_of(OnGpu(torch.float32)) == "efficient"
    problem = tiles.problem(Device(capability, 40, SHARED[capability]), 16)
    assert (problem is None) == (layers == "fused")
    (finding,) = doctor.gpus()
    assert finding.state == "ok" and f"{kernel} attention, {layers} layers" in finding.text


def test_bfloat16_that_the_user_asks_for_is_refused_where_there_is_none(capability):
    if capability >= (8, 0):
        match_precision(values(), {"dtype"})
        return
    with pytest.raises(InputError, match=r"--dtype bfloat16: A card .* has no bfloat16"):
        match_precision(values(), {"dtype"})


def test_four_bits_are_refused_early_where_bitsandbytes_does_not_train(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    with pytest.raises(InputError, match="--quantization 4bit: bitsandbytes trains on NVIDIA"):
        match_precision(values(dtype="float32"), set())


def test_doctor_says_what_runs_on_a_gpu_of_apple_and_layers_are_not_fused_there(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    (finding,) = doctor.gpus()
    assert (finding.state, finding.text) == ("warn", "mps, no NVIDIA GPU") and "--quantization none" in finding.remedy
    assert why_not_fused(lora_model().to("meta")) == "a GPU of another vendor than NVIDIA"


def test_a_head_size_that_the_efficient_kernel_cannot_read_goes_through_sdpa():
    assert choice((7, 5), head_dim=100).attention == "documents"
    assert choice((8, 0), head_dim=512).attention == "efficient"


def test_a_t4_takes_three_b_and_four_b_and_every_plan_fits_with_context_and_display():
    *single, kaggle = rows(ROOT / "recipes")
    table = {entries[0].card.name: entries for entries in single}
    assert all(2 * two.hours < 1.2 * one.hours for one, two in zip(table["T4"], kaggle, strict=True))
    assert all(each.plan.gib <= each.card.free_gib for each in kaggle)
    assert all(each.plan.gib <= each.card.free_gib for entries in table.values() for each in entries if each.plan)
    assert all(each.plan for name in ("T4", "RTX 3060") for each in table[name])
    assert all(each.plan for each in table["RTX 4060"][:2])  # 3B and 4B
    assert table["T4"][0].hours > table["H100"][0].hours * 10
    assert not table["RTX 4060"][3].plan


@pytest.mark.parametrize(
    ("device", "card"),
    [
        ("NVIDIA GeForce RTX 4060 Ti", "RTX 4060"), ("Tesla T4", "T4"), ("NVIDIA A10G", "A10"), ("NVIDIA L40S", "L40S"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"), ("NVIDIA RTX A6000", "A6000"), ("NVIDIA H100 80GB HBM3", "H100"),
        ("Tesla V100-SXM2-16GB", "V100"), ("NVIDIA RTX A1000 Laptop GPU", None), ("NVIDIA RTX A4000", None),
        ("NVIDIA T400 4GB", None),
    ],
)  # fmt: skip
def test_a_card_is_found_by_the_whole_words_of_its_name(device, card):
    assert getattr(card_of(device), "name", None) == card


def test_the_table_has_a_line_per_card(capsys):
    show_cards(ROOT / "recipes")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CARDS) + 4
    t4 = next(line for line in lines if line.startswith("T4"))
    assert "fp16, efficient attention, fused layers" in t4


def test_the_page_of_gpus_has_the_table_that_the_command_prints(capsys):
    show_cards(ROOT / "recipes")
    *table, _ = capsys.readouterr().out.splitlines()
    page = (ROOT / "docs" / "gpus.md").read_text(encoding="utf-8")
    assert all(f"| {line} |" in page for line in table)


def test_document_attention_in_float32_is_that_of_float64_to_1e_5():
    torch.manual_seed(0)
    sides = [torch.randn(40, heads, 16) for heads in (4, 2, 2)]
    bounds, grad = torch.tensor([0, 7, 7, 40], dtype=torch.int32), torch.randn(40, 4, 16)
    found = []
    for dtype in (torch.float32, torch.float64):
        query, key, value = (side.to(dtype) for side in sides)
        out, saved = attend(query, key, value, bounds, 33, 0.25)
        grads = attend_backward(grad.to(dtype), query, key, value, out, saved, bounds, 33, 0.25)
        found.append([out, *grads])
    assert all((a.double() - b).abs().max() < 1e-5 for a, b in zip(*found, strict=True))


def test_newer_flash_attention_is_taken_where_its_package_is_installed(monkeypatch, capsys):
    taken = []
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(attention, "activate_flash_attention_impl", taken.append)
    for capability in ((8, 0), (9, 0), (10, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None, found=capability: found)
        monkeypatch.setattr(attention, "find_spec", lambda name: None)
        attention.newer_flash()
        monkeypatch.setattr(attention, "find_spec", lambda name: object())
        attention.newer_flash()
    assert taken == ["FA3", "FA4"]
