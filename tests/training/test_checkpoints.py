"""Checkpoints: whole or absent, verified before a run continues from them, and only by the same run."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.file_names import MANIFEST
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.checkpoints.choose import SAVING, checkpoints, clear_leftovers, newest_whole
from dialsum_trl.training.checkpoints.manifest import flaw, seal
from tests.phase3_toys import flags
from tests.row_files import read_csv, sample, write_csv


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("rows"), train=16, dev=4)


def settings(base, rows, output, **changes):
    return {
        "model_name_or_path": base, "train_file": rows / "train.csv", "eval_file": rows / "dev.csv",
        "output_dir": output, "use_cpu": True, "dtype": "float32", "quantization": "none", "max_steps": 4,
        "effective_batch_size": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 0,
        "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1,
        "rouge_rows": 0, "disable_tqdm": True, **changes,
    }  # fmt: skip


def train(base, rows, output, **changes):
    return train_sft({}, flags(settings(base, rows, output, **changes)))


@pytest.fixture(scope="module")
def finished(toy_base, rows, tmp_path_factory):
    """A run of four steps with checkpoints after the second and the fourth; copy it before changing it."""
    output = tmp_path_factory.mktemp("run") / "out"
    train(toy_base, rows, output)
    return output


@pytest.fixture
def killed(finished, tmp_path):
    """The same run as a kill after the fourth step's checkpoint leaves it."""
    folder = tmp_path / "killed"
    folder.mkdir()
    for path in finished.glob("checkpoint-*"):
        shutil.copytree(path, folder / path.name)
    state = folder / "checkpoint-4" / "trainer_state.json"
    assert json.loads(state.read_text())["best_model_checkpoint"].startswith(str(finished))
    return folder


def test_every_checkpoint_of_a_run_is_sealed_and_nothing_is_left_aside(finished):
    assert [path.name for path in checkpoints(finished)] == ["checkpoint-4", "checkpoint-2"]
    assert all(flaw(path) is None for path in checkpoints(finished))
    sealed = json.loads((finished / "checkpoint-4" / MANIFEST).read_text())
    assert {"adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "run.json"} <= set(sealed)
    assert not (finished / SAVING).exists() and not (finished / ".saving").exists()


def test_the_best_checkpoint_is_known_by_its_final_name(finished):
    state = json.loads((finished / "checkpoint-4" / "trainer_state.json").read_text())
    assert Path(state["best_model_checkpoint"]).parent == finished
    assert Path(state["best_model_checkpoint"]).is_dir()


def test_only_save_total_limit_checkpoints_are_kept_and_the_best_is_one_of_them(toy_base, rows, tmp_path):
    # the highest loss counts as the best: that of the first evaluation
    train(toy_base, rows, tmp_path / "out", save_steps=1, eval_steps=1, save_total_limit=2, greater_is_better=True)
    state = json.loads((tmp_path / "out" / "checkpoint-4" / "trainer_state.json").read_text())
    assert Path(state["best_model_checkpoint"]).name == "checkpoint-1"
    assert {path.name for path in checkpoints(tmp_path / "out")} == {"checkpoint-4", "checkpoint-1"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "optimizer.pt").unlink(), "optimizer.pt is missing"),
        (lambda folder: os.truncate(folder / "optimizer.pt", 100), "optimizer.pt has 100 bytes"),
        (lambda folder: flip(folder / "adapter_model.safetensors"), "is not what was written"),
        (lambda folder: (folder / MANIFEST).unlink(), "it was not finished"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "is damaged"),
        (lambda folder: (folder / MANIFEST).write_text('{"a": 1}'), "is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_by_name_and_reason(killed, damage, reason):
    damage(killed / "checkpoint-4")
    found, skipped = newest_whole(killed)
    assert found == killed / "checkpoint-2"
    assert len(skipped) == 1 and "checkpoint-4 is passed over" in skipped[0] and reason in skipped[0]


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_named_checkpoint_that_is_damaged_is_an_error(toy_base, rows, killed):
    flip(killed / "checkpoint-4" / "optimizer.pt")
    with pytest.raises(InputError, match=r"checkpoint-4: optimizer.pt is not what was written.*newest whole one"):
        train(toy_base, rows, killed, resume_from_checkpoint=killed / "checkpoint-4")


def test_no_whole_checkpoint_is_an_error_that_says_why(toy_base, rows, killed):
    for path in checkpoints(killed):
        (path / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"holds no checkpoint to continue from; .*checkpoint-2 is passed over"):
        train(toy_base, rows, killed, resume_from_checkpoint="true")


def test_a_run_goes_on_from_before_a_damaged_checkpoint_and_replaces_it(toy_base, rows, killed, finished, capsys):
    flip(killed / "checkpoint-4" / "optimizer.pt")
    train(toy_base, rows, killed, resume_from_checkpoint="true")
    assert "checkpoint-4 is passed over: optimizer.pt is not what was written" in capsys.readouterr().out
    assert flaw(killed / "checkpoint-4") is None
    mine, theirs = (folder / "adapter_model.safetensors" for folder in (killed, finished))
    assert mine.read_bytes() == theirs.read_bytes()


def test_leftovers_of_a_killed_save_go_and_nothing_else_does(tmp_path):
    (tmp_path / SAVING / "checkpoint-9").mkdir(parents=True)
    (tmp_path / SAVING / "notes").mkdir()
    (tmp_path / "checkpoint-4").mkdir()
    clear_leftovers(tmp_path)
    assert not (tmp_path / SAVING / "checkpoint-9").exists()
    assert (tmp_path / SAVING / "notes").exists() and (tmp_path / "checkpoint-4").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scheduler.pt", b""),
        ("optimizer.pt", b"PK\x03\x04 half"),
    ],
)
def test_a_file_that_was_cut_off_is_never_sealed(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match="was cut off"):
        seal(tmp_path)
    assert not (tmp_path / MANIFEST).exists()


def test_a_checkpoint_without_the_optimizer_is_refused(toy_base, rows, tmp_path):
    output = tmp_path / "out"
    train(toy_base, rows, output, save_only_model=True, max_steps=2, eval_strategy="no", load_best_model_at_end="false")
    with pytest.raises(InputError, match=r"--save_only_model true.*--adapter_path"):
        train(toy_base, rows, output, resume_from_checkpoint="true", max_steps=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_r": 8}, "--lora_r was 16 and is 8"),
        ({"lora_alpha": 64}, "--lora_alpha was 32 and is 64"),
        ({"lora_dropout": 0.2}, "--lora_dropout was 0.05 and is 0.2"),
        ({"lora_target_modules": ["q_proj"]}, r'--lora_target_modules was \["q_proj", .* and is \["q_proj"\]'),
        ({"seed": 7}, "--seed was 42 and is 7"),
        ({"learning_rate": 1e-3}, "--learning_rate was 0.01 and is 0.001"),
        ({"max_steps": 8}, r"--max_steps was 4 and is 8 \(it changes the cosine schedule"),
        ({"effective_batch_size": 8}, "rows an optimizer step was 4 and is 8"),
        ({"max_length": 500}, "--max_length was 1024 and is 500"),
        ({"prompt_style": "instruction"}, "--prompt_style .*chat template was"),
        ({"instructions": "all"}, "--instructions was"),
        ({"optim": "adafactor"}, "--optim was .*AdamW.* and is .*adafactor"),
        ({"seed": 7, "lora_r": 8}, "--lora_r was 16 and is 8; --seed|--seed was 42 and is 7; --lora_r"),
    ],
)  # fmt: skip
def test_another_setting_is_named_as_it_was_and_as_it_is(toy_base, rows, finished, change, message):
    with pytest.raises(InputError, match=message) as caught:
        train(toy_base, rows, finished, resume_from_checkpoint="true", **change)
    assert "\n" not in str(caught.value) and "another run than the one that was started" in str(caught.value)


def rewrite(rows, folder, change):
    """The rows in another folder, after `change(list of CSV rows, header first)`."""
    shutil.copytree(rows, folder)
    header, *rows = change(read_csv(folder / "train.csv"))
    write_csv(folder / "train.csv", rows, header)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[:-1], "rows: there were 16 and are 15"),
        (lambda table: [table[0], *table[:0:-1]], "rows: they are in another order"),
        (
            lambda table: [*table[:3], [*table[3][:2], "다른 요약이다.", *table[3][3:]], *table[4:]],
            "1 of 16 changed, train_2",
        ),
    ],
)
def test_changed_rows_are_named(toy_base, rows, finished, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train(toy_base, rewrite(rows, tmp_path / "rows", change), finished, resume_from_checkpoint="true")


def test_another_base_is_named(toy_base, rows, finished, tmp_path):
    other = tmp_path / "base"
    shutil.copytree(toy_base, other)
    weights = load_file(other / "model.safetensors")
    save_file(
        {k: v + 1e-3 * torch.ones_like(v) for k, v in weights.items()}, other / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match=r"base model was weights .* and is weights"):
        train(other, rows, finished, resume_from_checkpoint="true")


def test_what_does_not_touch_the_steps_may_change(toy_base, rows, killed, finished, tmp_path):
    shutil.rmtree(killed / "checkpoint-4")
    moved, base = tmp_path / "rows", tmp_path / "moved-base"
    shutil.copytree(rows, moved)
    shutil.copytree(toy_base, base)
    changes = dict(logging_steps=2, run_name="again", save_total_limit=5, dataloader_num_workers=1, memory_gib=4)
    train(base, moved, killed, resume_from_checkpoint="true", **changes)
    mine, theirs = (folder / "adapter_model.safetensors" for folder in (killed, finished))
    assert mine.read_bytes() == theirs.read_bytes()


def test_a_constant_schedule_may_be_made_longer(toy_base, rows, tmp_path):
    steady = dict(lr_scheduler_type="constant")
    train(toy_base, rows, tmp_path / "whole", **steady)
    train(toy_base, rows, tmp_path / "part", **steady, max_steps=2)
    train(toy_base, rows, tmp_path / "part", **steady, resume_from_checkpoint="true")
    mine, theirs = (tmp_path / run / "adapter_model.safetensors" for run in ("part", "whole"))
    assert mine.read_bytes() == theirs.read_bytes()


def test_a_damaged_best_checkpoint_is_named_before_the_run_goes_on(toy_base, rows, killed):
    flip(killed / "checkpoint-4" / "adapter_model.safetensors")
    state = json.loads((killed / "checkpoint-2" / "trainer_state.json").read_text())
    state |= {"best_model_checkpoint": str(killed / "checkpoint-4"), "best_global_step": 4, "best_metric": -1.0}
    (killed / "checkpoint-2" / "trainer_state.json").write_text(json.dumps(state))
    seal(killed / "checkpoint-2")
    with pytest.raises(InputError, match=r"the best checkpoint so far, .*checkpoint-4, cannot be loaded"):
        train(toy_base, rows, killed, resume_from_checkpoint=killed / "checkpoint-2", save_total_limit=9)
