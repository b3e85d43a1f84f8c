"""Adapter soups: the mean of adapters that share their start, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.file_names import CONFIG, RUN_FILE, WEIGHTS
from dialsum_trl.models.soup import greedy_soup, soup, start_cosine
from dialsum_trl.stages.sft import train_sft
from tests.conftest import TINY


def adapter(folder, seed=0, shape=(4, 8), dtype=torch.float32, start=0, **config):
    """Weights near those of every adapter with the same `start`."""
    folder.mkdir(parents=True)
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "base",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["v", "q"],
    }
    (folder / CONFIG).write_text(json.dumps(settings | config), encoding="utf-8")
    drawn, moved = (torch.Generator().manual_seed(number) for number in (start, 100 + seed))
    tensors = {
        name: (torch.randn(shape, generator=drawn) + 0.2 * torch.randn(shape, generator=moved)).to(dtype)
        for name in ("q.lora_A", "q.lora_B")
    }
    save_file(tensors, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("copies", [2, 3, 7])
def test_the_soup_of_an_adapter_with_itself_is_itself(tmp_path, dtype, copies):
    one = adapter(tmp_path / "a", dtype=dtype)
    mixed = load_file(soup([one] * copies, tmp_path / "soup") / WEIGHTS)
    for name, tensor in load_file(one / WEIGHTS).items():
        assert mixed[name].dtype == dtype and torch.equal(mixed[name], tensor)


def test_a_soup_is_the_weighted_mean(tmp_path):
    folders = [adapter(tmp_path / name, seed) for seed, name in enumerate("ab")]
    mixed = load_file(soup(folders, tmp_path / "soup", weights=[3, 1]) / WEIGHTS)
    left, right = (load_file(folder / WEIGHTS) for folder in folders)
    for name, tensor in mixed.items():
        assert torch.allclose(tensor, 0.75 * left[name] + 0.25 * right[name], atol=1e-7)


def test_a_soup_keeps_the_settings_but_not_the_scores_or_checkpoints_of_the_first(tmp_path):
    one = adapter(tmp_path / "a")
    (one / RUN_FILE).write_text(json.dumps({"method": "SFT", "dtype": "float16", "metrics": {"eval_loss": 1.0}}))
    (one / "optimizer.pt").write_bytes(b"x")
    (one / "checkpoint-1").mkdir()
    mixed = soup([one, adapter(tmp_path / "b", 1, target_modules=["q", "v"])], tmp_path / "out" / "soup")
    assert sorted(path.name for path in mixed.iterdir()) == sorted([CONFIG, WEIGHTS, RUN_FILE])
    record = json.loads((mixed / RUN_FILE).read_text(encoding="utf-8"))
    assert (record["method"], record["dtype"], record["metrics"]) == ("adapter soup", "float16", {})
    assert record["soup"] == [{"adapter": "a", "weight": 0.5}, {"adapter": "b", "weight": 0.5}]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["soup"]


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        ({"r": 8, "shape": (8, 8)}, "r is 4 and 8"),
        ({"base_model_name_or_path": "other"}, "base_model_name_or_path is base and other"),
        ({"target_modules": ["q"]}, r"target_modules is \['q', 'v'\] and \['q'\]"),
        ({"use_rslora": True}, "use_rslora is None and True"),
        ({"shape": (4, 6)}, r"q.lora_A has shapes \(4, 8\) and \(4, 6\)"),
    ],
)
def test_incompatible_adapters_are_an_error_that_says_what_differs(tmp_path, difference, expected):
    with pytest.raises(InputError, match=f"cannot be averaged: {expected}"):
        soup([adapter(tmp_path / "a"), adapter(tmp_path / "b", **difference)], tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


@pytest.mark.parametrize("greedy", [False, True])
def test_adapters_that_do_not_share_their_start_are_an_error_with_the_cosine(tmp_path, greedy):
    folders = [adapter(tmp_path / "a", shape=(4, 800)), adapter(tmp_path / "b", shape=(4, 800), start=1)]
    with pytest.raises(InputError, match=r"do not share their start \(mean cosine of lora_A -?0\.0\d, under 0\.3"):
        greedy_soup(folders, tmp_path / "soup", lambda _: 1) if greedy else soup(folders, tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


def test_a_continued_adapter_shares_its_start_and_one_of_another_seed_does_not(toy_base, trained_adapter, tmp_path):
    recipe = dict(model_name_or_path=str(toy_base), dtype="float32", quantization="none", use_cpu=True, fast=False)
    recipe |= dict(train_file=str(TINY / "data" / "train.csv"), max_steps=2, per_device_train_batch_size=2)
    recipe |= dict(effective_batch_size=2, learning_rate=1e-2, optim="adamw_torch", save_strategy="no")
    for name, start in (("continued", {"adapter_path": str(trained_adapter)}), ("other", {})):
        train_sft({**recipe, **start, "seed": 1, "output_dir": str(tmp_path / name)}, [])
    assert start_cosine(trained_adapter, tmp_path / "continued") > 0.9
    soup([trained_adapter, tmp_path / "continued"], tmp_path / "soup")
    assert abs(start_cosine(trained_adapter, tmp_path / "other")) < 0.1
    with pytest.raises(InputError, match="do not share their start"):
        soup([trained_adapter, tmp_path / "other"], tmp_path / "none")


def test_what_is_no_lora_adapter_is_an_error(tmp_path):
    one = adapter(tmp_path / "a")
    with pytest.raises(InputError, match=r"nowhere/adapter_config\.json: cannot be read"):
        soup([one, tmp_path / "nowhere"], tmp_path / "soup")
    with pytest.raises(InputError, match="peft_type is 'IA3'; only LoRA"):
        soup([one, adapter(tmp_path / "b", peft_type="IA3")], tmp_path / "soup")
    (one / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(InputError, match="is no whole safetensors file"):
        soup([one], tmp_path / "soup")


def test_nothing_is_overwritten_and_weights_must_fit(tmp_path):
    one = adapter(tmp_path / "a")
    with pytest.raises(InputError, match="exists; choose another folder"):
        soup([one, one], one)
    with pytest.raises(InputError, match="1 weights for 2 adapters"):
        soup([one, one], tmp_path / "soup", weights=[1])
    with pytest.raises(InputError, match="not all 0"):
        soup([one, one], tmp_path / "soup", weights=[0, 0])
    with pytest.raises(InputError, match="no adapters"):
        soup([], tmp_path / "soup")


def test_a_greedy_soup_takes_in_only_what_does_not_lower_the_dev_score(tmp_path):
    folders = [adapter(tmp_path / name, seed) for seed, name in enumerate("abc")]
    target = (load_file(folders[0] / WEIGHTS)["q.lora_A"] + load_file(folders[2] / WEIGHTS)["q.lora_A"]) / 2

    def dev_score(folder):
        return -float((load_file(folder / WEIGHTS)["q.lora_A"] - target).norm())

    kept, best = greedy_soup(folders, tmp_path / "soup", dev_score)
    assert {folder.name for folder in kept} == {"a", "c"}
    assert best == pytest.approx(0, abs=1e-6) and dev_score(tmp_path / "soup") == best
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "soup"]
