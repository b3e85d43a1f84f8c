"""A resumed run makes the steps of the unbroken one: equal losses and gradient norms, step by step, and weights.

SFT (packed, with dropout) in test_fast.py; PPO, GRPO and several processes in their own files; kills: test_kill_resume.
"""

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import TINY
from tests.row_files import DEV
from tests.stage_toys import ADAPTER, history, logged, same_file, train_twice

MODEL = "model.safetensors"
EXACT = dict(save_strategy="steps", logging_steps=1, warmup_steps=0.2, per_device_train_batch_size=2)
SFT = EXACT | dict(train_file=DEV, rouge_rows=0, effective_batch_size=4, adapter_path=None)
BART = EXACT | dict(
    train_file=DEV, effective_batch_size=4, adapter_path=None, quantization=None, model_name_or_path=TINY / "bart"
)


def assert_same(whole, again, steps, weights=ADAPTER) -> None:
    last = [folder / f"checkpoint-{steps}" for folder in (whole, again)]
    names = ("step", "loss", "grad_norm", "learning_rate", "num_tokens")
    curves = [[[e.get(name) for name in names] for e in history(folder) if "grad_norm" in e] for folder in last]
    assert len(curves[0]) == steps and curves[0] == curves[1]
    assert same_file(*last, weights) and same_file(whole, again, weights)


@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_pairs_go_on_in_the_middle_of_an_epoch(folders, tmp_path, stage):
    more = {"reward": dict(accept_weak=True), "dpo": dict(eval_strategy="no")}[stage]
    settings = EXACT | more | dict(per_device_train_batch_size=4, max_steps=9, save_steps=3)
    assert_same(*train_twice(stage, folders, tmp_path, 3, **settings), 9)


def test_an_encoder_decoder_goes_on_with_its_dropout(folders, tmp_path):
    assert_same(*train_twice("seq2seq", folders, tmp_path, 2, **BART, max_steps=4, save_steps=2), 4, MODEL)


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit"])
def test_sft_goes_on_with_every_optimizer(folders, tmp_path, optim):
    settings = SFT | dict(quantization="4bit", max_steps=4, save_steps=2)
    settings |= dict(optim=optim, lora_r=128)  # 8-bit states start at 4096 numbers
    whole, again = train_twice("sft", folders, tmp_path, 2, **settings)
    assert_same(whole, again, 4)
    if optim.endswith("8bit"):  # kept in 8 bit in the checkpoint too, with its scales
        state = torch.load(whole / "checkpoint-4" / "optimizer.pt", weights_only=True)["state"]
        assert any("__bnb_optimizer_quant_state__" in each for each in state.values())


def test_lines_that_average_steps_are_those_of_the_unbroken_run(folders, tmp_path):
    runs = train_twice("sft", folders, tmp_path, 3, **SFT | dict(max_steps=6, save_steps=3, logging_steps=4))
    names = ("step", "loss", "num_tokens", "mean_token_accuracy")
    lines = [[[entry[name] for name in names] for entry in history(run) if "loss" in entry] for run in runs]
    assert lines[0] == lines[1] and [line[0] for line in lines[0]] == [3, 4, 6]


TORCH, FUSED, PAGED = "adamw_torch", "adamw_torch_fused", "paged_adamw_32bit"
STAGES = {
    "sft": SFT,
    "seq2seq": BART,
    "reward": EXACT | dict(effective_batch_size=4, accept_weak=True),
    "dpo": EXACT | dict(effective_batch_size=4, eval_strategy="no"),
    "ppo": EXACT | dict(train_file=DEV, eval_file=None, rouge_rows=None, eval_steps=None, rollout_batch_size=4,
                        critic_learning_rate=2e-2),
    "grpo": EXACT | dict(train_file=DEV, num_generations=2),
}  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "first", "then"),
    [
        ("sft", TORCH, PAGED), ("sft", PAGED, TORCH), ("sft", TORCH, FUSED), ("seq2seq", TORCH, PAGED),
        ("reward", PAGED, FUSED), ("dpo", FUSED, PAGED), ("ppo", TORCH, PAGED), ("ppo", PAGED, TORCH),
        ("grpo", PAGED, TORCH),
    ],
)  # fmt: skip
def test_adamw_goes_on_in_another_implementation(folders, tmp_path, stage, first, then):
    settings = STAGES[stage] | dict(max_steps=4, save_steps=2, lr_scheduler_type="linear", optim=first)
    runs = train_twice(stage, folders, tmp_path, 2, then={"optim": then}, **settings)
    last = [run / "checkpoint-4" for run in runs]
    losses = [logged(folder) for folder in last]
    states = [torch.load(folder / "optimizer.pt", weights_only=True) for folder in last]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4) and len(losses[0]) == 4
    assert len({str([group["lr"] for group in state["param_groups"]]) for state in states}) == 1
    one, other = (load_file(run / (MODEL if stage == "seq2seq" else ADAPTER)) for run in runs)
    assert max((one[key] - other[key]).abs().max().item() for key in one) < 1e-3
