"""The stages after SFT on two CPU processes, and SFT over two "machines" of one process each."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dialsum_trl.stages.ensemble import ensemble
from tests.conftest import ROOT
from tests.phase3_toys import TINY, TRAIN, flags, make_adapter
from tests.row_files import first_rows
from tests.two_processes import (
    TOLERANCE,
    ZERO2,
    ZERO3,
    assert_same_run,
    environment,
    finish,
    launch,
    launcher,
    losses,
    make_toy,
    needs_compiler,
    runs_on_one_process,
    sft_argv,
    start,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("distributed"))


@pytest.fixture(scope="module")
def one_process(toy):
    return runs_on_one_process(toy)


@pytest.fixture(scope="module")
def pairs(toy):
    """An SFT adapter and preference pairs, for the stages after SFT."""
    make_adapter(toy / "base", toy / "sft")
    rows = [
        {
            "prompt": f"#Person1#: 방이 {i}개 있나요?",
            "chosen": f"방이 {i}개 있다고 합니다",
            "rejected": "방이 있다고 그랬어",
        }
        for i in range(48)
    ]
    (toy / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return toy / "pairs.jsonl"


def later_argv(toy: Path, output: Path, **settings) -> list[str]:
    common = {"adapter_path": toy / "sft", "model_name_or_path": toy / "base", "output_dir": output, "use_cpu": True}
    common |= {"dtype": "float32", "quantization": "4bit", "max_steps": 4, "learning_rate": 1e-2, "warmup_steps": 0}
    common |= {"per_device_train_batch_size": 4, "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1}
    return flags({**common, **settings})


@pytest.mark.parametrize("config", ["ddp", "fsdp", ZERO2, ZERO3])
@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_reward_and_dpo_train_on_two_processes_as_on_one(toy, pairs, stage, config):
    settings = dict(pairs_file=pairs, held_out=0.25, effective_batch_size=8)
    settings |= {"accept_weak": True} if stage == "reward" else {}
    folders = []
    for where, processes in (("cpu", 1), (config, 2)):
        folders.append(toy / f"{stage}-{where}-for-{config}")
        argv = later_argv(toy, folders[-1], **settings)
        done = launch(toy, where, [{"stage": stage, "argv": argv}], processes)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    assert one.keys() == two.keys()
    assert max((one[name] - two[name]).abs().max().item() for name in one) < TOLERANCE


@pytest.mark.parametrize(
    ("stage", "config"),
    [
        ("reward", "fsdp"),
        pytest.param("reward", "deepspeed_zero3", marks=needs_compiler),
        ("dpo", "fsdp"),
        pytest.param("dpo", "deepspeed_zero2", marks=needs_compiler),
    ],
)
def test_one_process_continues_reward_and_dpo_from_the_checkpoint_of_two(toy, pairs, stage, config):
    settings = dict(pairs_file=pairs, held_out=0.25, effective_batch_size=8)
    settings |= dict(save_strategy="steps", save_steps=2, save_total_limit=2)
    settings |= {"accept_weak": True} if stage == "reward" else {}
    folders = [toy / f"{stage}-{name}-{config}" for name in ("unbroken", "continued")]
    runs = (config, 2, {}), ("cpu", 1, {"resume_from_checkpoint": True})
    for output, (where, processes, more) in zip(folders, runs, strict=True):
        if more:
            shutil.copytree(folders[0] / "checkpoint-2", output / "checkpoint-2")
        argv = later_argv(toy, output, **settings, **more)
        done = launch(toy, where, [{"stage": stage, "argv": argv}], processes)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    assert max((one[name] - two[name]).abs().max().item() for name in one) < TOLERANCE


@pytest.mark.parametrize(
    ("stage", "config"),
    [
        ("grpo", "ddp"),
        ("grpo", "fsdp"),
        pytest.param("grpo", "deepspeed_zero2", marks=needs_compiler),
        pytest.param("grpo", "deepspeed_zero3", marks=needs_compiler),
        ("ppo", "ddp"),
    ],
)
def test_online_stages_run_on_two_processes_score_dev_rows_and_save_a_whole_policy(toy, pairs, stage, config):
    settings = dict(train_file=TRAIN, max_completion_length=8, reward_functions=["hangul_share", "no_repetition"])
    settings |= dict(eval_file=toy / "dev.csv", eval_steps=2, rouge_rows=5, rouge_tokenizer="char")
    if stage == "grpo":
        settings |= dict(num_generations=4, gradient_accumulation_steps=2, mask_truncated_completions="false")
    else:
        settings |= dict(rollout_batch_size=8, max_truncated=1.1, critic_learning_rate=1e-2)
    output = toy / f"{stage}-{config}"
    done = launch(toy, config, [{"stage": stage, "argv": later_argv(toy, output, **settings)}])
    assert done.returncode == 0, done.stderr[-3000:]
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    assert {entry["step"] for entry in history if entry.get("eval_reward", 0) > 0} == {0, 2, 4}
    folders = toy / "sft", output, output / "best"
    start, policy, best = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    assert {name: t.shape for name, t in start.items()} == {name: t.shape for name, t in policy.items()}
    assert all(torch.equal(best[name], policy[name]) for name in best)
    if stage == "ppo":  # which keeps the start where no evaluation was better; that it trained shows in the KL to it
        assert any(entry.get("kl", 0) > 0 for entry in history)
    else:
        assert any((start[name] != policy[name]).any() for name in start)


@pytest.mark.parametrize("generates", [True, False])
def test_an_encoder_decoder_makes_the_same_steps_on_two_processes_and_scores_each_dev_row_once(toy, generates):
    settings = {"model_name_or_path": TINY / "bart", "train_file": toy / "train.csv", "use_cpu": True, "max_steps": 3}
    settings |= {"dtype": "float32", "effective_batch_size": 8, "per_device_train_batch_size": 2, "save_strategy": "no"}
    settings |= {"learning_rate": 1e-3, "logging_steps": 1, "disable_tqdm": True, "rouge_tokenizer": "char"}
    # nine dev rows: the last batch of two processes is one row, filled up with seven from the start
    settings |= {"eval_file": toy / "dev.csv", "per_device_eval_batch_size": 4}
    settings |= {"generation_max_length": 24, "predict_with_generate": generates}
    curves, scores = [], []
    for config, processes in (("cpu", 1), ("ddp", 2)):
        output = toy / f"seq2seq-{config}-{int(generates)}"
        done = launch(toy, config, [{"stage": "seq2seq", "argv": flags({**settings, "output_dir": output})}], processes)
        assert done.returncode == 0, done.stderr[-3000:]
        curves.append([losses(output), losses(output, "grad_norm"), losses(output, "eval_loss")])
        scores.append([losses(output, f"eval_{name}") for name in ("rouge1", "rouge2", "rougeL", "hit_limit")])
    assert len(curves[0][0]) == 3 and curves[0][2] and scores[0] == scores[1]
    assert not generates or scores[0][0][-1] > 0
    for one, two, tolerance in zip(*curves, (TOLERANCE, TOLERANCE, 1e-5), strict=True):
        assert two == pytest.approx(one, rel=tolerance)


@pytest.mark.parametrize("stage", ["sft", "seq2seq"])
def test_two_processes_train_on_each_row_of_an_epoch_once_where_they_do_not_divide(toy, stage):
    """11 rows, 8 a step: the last step has 3, all of them on the first process; the other's batch only fills up."""
    settings = dict(
        train_file=first_rows(TRAIN, 11, toy / "eleven.csv"), max_steps=-1, num_train_epochs=2, save_strategy="no"
    )
    settings |= dict(eval_strategy="no", load_best_model_at_end=False)
    if stage == "seq2seq":
        settings |= {"model_name_or_path": TINY / "bart", "use_cpu": True, "dtype": "float32", "learning_rate": 1e-3}
        settings |= {"effective_batch_size": 8, "per_device_train_batch_size": 4, "logging_steps": 1}
        settings |= {"warmup_steps": 0, "disable_tqdm": True}
    curves = []
    for config, processes in (("cpu", 1), ("ddp", 2)):
        output = toy / f"eleven-{stage}-{config}"
        argv = flags({**settings, "output_dir": output}) if stage == "seq2seq" else sft_argv(toy, output, **settings)
        done = launch(toy, config, [{"stage": stage, "argv": argv}], processes)
        assert done.returncode == 0, done.stderr[-3000:]
        curves.append([losses(output), losses(output, "grad_norm")])
    assert len(curves[0][0]) == 4
    for one, two in zip(*curves, strict=True):
        assert two == pytest.approx(one, rel=TOLERANCE)


def test_two_processes_choose_the_greedy_soup_of_one_and_one_of_them_writes_it(toy, pairs):
    shutil.copytree(toy / "sft", toy / "sft-again")
    argv = {"adapter_paths": [toy / "sft", toy / "sft-again"], "greedy": True, "test_file": toy / "dev.csv"}
    argv |= {"use_cpu": True, "dtype": "float32", "max_new_tokens": 6, "rouge_tokenizer": "char", "bootstrap": 10}
    one = ensemble({}, flags({**argv, "output_dir": toy / "soup-one"}))
    command = [*launcher("ddp", 2), str(ROOT / "recipes/ensemble.py"), *flags({**argv, "output_dir": toy / "soup-two"})]
    done = finish(start(command, toy), 200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"averaged {len(one['kept'])} of 2 adapters") == 1
    weights = [(toy / soup / "adapter_model.safetensors").read_bytes() for soup in ("soup-one", "soup-two")]
    assert weights[0] == weights[1]


SSH = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do [[ $1 == -o ]] && shift; shift; done
shift
exec bash -c "$1"
"""


def several_machines(toy: Path, output: Path, folder: Path, **settings) -> subprocess.Popen:
    """The ssh launcher with an ssh that stays on this machine: two "machines" of one process each."""
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(0o755)
    env = environment() | {
        "PATH": f"{folder}:{environment()['PATH']}",
        "HOSTS": "127.0.0.1 localhost",
        "PROCESSES_PER_NODE": "1",
        "MAIN_PORT": str(20000 + os.getpid() % 10000),
    }
    command = ["bash", str(ROOT / "accelerate_configs/launch/ssh.sh"), "recipes/sft_llama3b.py"]
    command += sft_argv(toy, output, **settings)
    return start(command, ROOT, env)


@needs_compiler
def test_the_ssh_launcher_trains_over_two_machines_as_one_process_does(toy, one_process, tmp_path):
    done = finish(several_machines(toy, toy / "machines", tmp_path / "bin"), 900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert done.stdout.count("'loss': ") == 6  # not once a machine
    assert_same_run(one_process("4bit"), toy / "machines")


@needs_compiler
def test_when_one_machine_fails_the_ssh_launcher_stops_the_others(toy, tmp_path):
    run = several_machines(toy, toy / "machines-fail", tmp_path / "bin", max_steps=2000, eval_steps=1000)
    while not (toy / "machines-fail/checkpoint-3/trainer_state.json").exists() and run.poll() is None:
        time.sleep(0.2)
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "-A"], capture_output=True, text=True).stdout.splitlines()
    second = [line for line in listed if "--machine_rank 1" in line and "machines-fail" in line]
    for line in second:
        os.kill(int(line.split()[0]), signal.SIGTERM)
    done = finish(run, 120)
    assert second, (done.stdout + done.stderr)[-3000:]
    assert done.returncode != 0
    assert "one of the machines failed" in done.stderr
