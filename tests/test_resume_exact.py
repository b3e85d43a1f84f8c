"""A resumed run makes the steps of the unbroken one: equal losses and gradient norms, step by step, and weights.

SFT (packed, with dropout) in test_fast.py; PPO, GRPO and several processes in their own files; kills: test_kill_resume.
"""

import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.reward import train_reward
from dialsum_trl.stages.seq2seq import train_seq2seq
from dialsum_trl.stages.sft import train_sft
from tests import phase3_toys as toys
from tests.conftest import TINY


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    base = toys.make_base(folder / "base")
    pairs = [
        {
            "prompt": f"#Person1#: 방이 {i}개 있나요?",
            "chosen": f"방이 {i}개 있다고 합니다",
            "rejected": f"{i}개라고 그랬어",
        }
        for i in range(32)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return {"base": base, "sft": toys.make_adapter(base, folder / "sft"), "pairs": folder / "pairs.jsonl"}


def continue_behind(stage, settings: dict, output: Path, step: int, **then) -> tuple[Path, Path]:
    """Trains whole, then again from that step's checkpoint alone; returns both folders."""
    fixed = dict(
        use_cpu=True, dtype="float32", save_strategy="steps", save_steps=step, logging_steps=1, disable_tqdm=True,
        save_total_limit=9, learning_rate=1e-2, warmup_steps=0.2,
    )  # fmt: skip
    whole, again = output / "whole", output / "again"
    stage({}, toys.flags({**fixed, **settings, "output_dir": whole}))
    shutil.copytree(whole / f"checkpoint-{step}", again / f"checkpoint-{step}")
    stage({}, toys.flags({**fixed, **settings, **then, "output_dir": again, "resume_from_checkpoint": "true"}))
    return whole, again


def assert_same(whole: Path, again: Path, last: str, weights: str) -> None:
    curves = []
    for folder in (whole, again):
        history = json.loads((folder / last / "trainer_state.json").read_text())["log_history"]
        names = ("step", "loss", "grad_norm", "learning_rate", "num_tokens")
        curves.append([[entry.get(name) for name in names] for entry in history if "grad_norm" in entry])
    assert len(curves[0]) == int(last.split("-")[1]) and curves[0] == curves[1]
    assert (whole / last / weights).read_bytes() == (again / last / weights).read_bytes()
    assert (whole / weights).read_bytes() == (again / weights).read_bytes()


@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_pairs_go_on_in_the_middle_of_an_epoch(toy, tmp_path, stage):
    settings = dict(
        model_name_or_path=toy["base"], quantization="none", adapter_path=toy["sft"], pairs_file=toy["pairs"],
        held_out=0.25, per_device_train_batch_size=2, effective_batch_size=4, max_steps=9,
    )  # fmt: skip
    more = {"reward": dict(accept_weak=True), "dpo": dict(eval_strategy="no")}[stage]
    train = {"reward": train_reward, "dpo": train_dpo}[stage]
    whole, again = continue_behind(train, {**settings, **more}, tmp_path, 3)
    assert_same(whole, again, "checkpoint-9", "adapter_model.safetensors")


def test_an_encoder_decoder_goes_on_with_its_dropout(tmp_path):
    settings = dict(
        model_name_or_path=TINY / "bart", train_file=TINY / "data" / "dev.csv", per_device_train_batch_size=2,
        effective_batch_size=4, max_steps=4,
    )  # fmt: skip
    whole, again = continue_behind(train_seq2seq, settings, tmp_path, 2)
    assert_same(whole, again, "checkpoint-4", "model.safetensors")


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit"])
def test_sft_goes_on_with_every_optimizer(toy, tmp_path, optim):
    settings = dict(
        model_name_or_path=toy["base"], quantization="4bit", train_file=TINY / "data" / "dev.csv", rouge_rows=0,
        per_device_train_batch_size=2, effective_batch_size=4, max_steps=4, optim=optim,
        lora_r=128,  # 8-bit states start at 4096 numbers
    )  # fmt: skip
    whole, again = continue_behind(train_sft, settings, tmp_path, 2)
    assert_same(whole, again, "checkpoint-4", "adapter_model.safetensors")
    if optim.endswith("8bit"):  # kept in 8 bit in the checkpoint too, with its scales
        state = torch.load(whole / "checkpoint-4" / "optimizer.pt", weights_only=True)["state"]
        assert any("__bnb_optimizer_quant_state__" in each for each in state.values())


def test_lines_that_average_steps_are_those_of_the_unbroken_run(toy, tmp_path):
    settings = dict(
        model_name_or_path=toy["base"], quantization="none", train_file=TINY / "data" / "dev.csv", rouge_rows=0,
        per_device_train_batch_size=2, effective_batch_size=4, max_steps=6, logging_steps=4,
    )  # fmt: skip
    folders = continue_behind(train_sft, {**settings, "logging_steps": 4}, tmp_path, 3)
    whole, again = (json.loads((folder / "trainer_state.json").read_text())["log_history"] for folder in folders)
    names = ("step", "loss", "num_tokens", "mean_token_accuracy")
    lines = [[[entry[name] for name in names] for entry in log if "loss" in entry] for log in (whole, again)]
    assert lines[0] == lines[1] and [line[0] for line in lines[0]] == [3, 4, 6]


TORCH, FUSED, PAGED = "adamw_torch", "adamw_torch_fused", "paged_adamw_32bit"
STAGES = {
    "sft": dict(train_file=TINY / "data" / "dev.csv", rouge_rows=0, effective_batch_size=4),
    "seq2seq": dict(train_file=TINY / "data" / "dev.csv", effective_batch_size=4),
    "reward": dict(held_out=0.25, effective_batch_size=4, accept_weak=True),
    "dpo": dict(held_out=0.25, effective_batch_size=4, eval_strategy="no"),
    "ppo": dict(
        train_file=TINY / "data" / "dev.csv", rollout_batch_size=4, max_completion_length=8, max_truncated=1.1,
        critic_learning_rate=2e-2, reward_functions=["hangul_share", "no_repetition"],
    ),
    "grpo": dict(
        train_file=TINY / "data" / "dev.csv", num_generations=2, gradient_accumulation_steps=2, max_completion_length=8,
        mask_truncated_completions="false", reward_functions=["hangul_share", "no_repetition"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "first", "then"),
    [
        ("sft", TORCH, PAGED), ("sft", PAGED, TORCH), ("sft", TORCH, FUSED), ("seq2seq", TORCH, PAGED),
        ("reward", PAGED, FUSED), ("dpo", FUSED, PAGED), ("ppo", TORCH, PAGED), ("ppo", PAGED, TORCH),
        ("grpo", PAGED, TORCH),
    ],
)  # fmt: skip
def test_adamw_goes_on_in_another_implementation(toy, tmp_path, stage, first, then):
    train = vars(importlib.import_module(f"dialsum_trl.stages.{stage}"))[f"train_{stage}"]
    settings = dict(per_device_train_batch_size=2, max_steps=4, lr_scheduler_type="linear") | STAGES[stage]
    if stage == "seq2seq":
        settings |= dict(model_name_or_path=TINY / "bart")
    else:
        settings |= dict(model_name_or_path=toy["base"], quantization="none")
    settings |= dict(adapter_path=toy["sft"]) if stage not in ("sft", "seq2seq") else {}
    settings |= dict(pairs_file=toy["pairs"]) if stage in ("reward", "dpo") else {}
    whole, again = continue_behind(train, {**settings, "optim": first}, tmp_path, 2, optim=then)
    losses, rates = [], []
    for folder in (whole, again):
        last = folder / "checkpoint-4"
        history = json.loads((last / "trainer_state.json").read_text())["log_history"]
        losses.append([entry["loss"] for entry in history if "loss" in entry])
        rates.append([group["lr"] for group in torch.load(last / "optimizer.pt", weights_only=True)["param_groups"]])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4) and len(losses[0]) == 4
    assert rates[0] == rates[1]
    name = "model.safetensors" if stage == "seq2seq" else "adapter_model.safetensors"
    one, other = (load_file(folder / name) for folder in (whole, again))
    assert max((one[key] - other[key]).abs().max().item() for key in one) < 1e-3
