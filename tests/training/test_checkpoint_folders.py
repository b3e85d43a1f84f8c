"""The folder of a run: which checkpoints are kept and deleted, who may write there, what a run ends with."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest

from dialsum_trl.core import lock as sole
from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.stages.common.command import problem
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.checkpoints.choose import SAVING, checkpoints, choose, prepare_output_dir
from dialsum_trl.training.checkpoints.manifest import seal
from dialsum_trl.training.checkpoints.whole import STATE, Checkpoints
from tests.training import test_checkpoints as runs

WEIGHTS = "adapter_model.safetensors"
rows, finished, killed = runs.rows, runs.finished, runs.killed  # fixtures


def same_adapter(one, other) -> bool:
    return (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()


def best_is(folder, step: int | None) -> None:
    """The states of all checkpoints name that step as the best, or none, and are sealed again."""
    for path in checkpoints(folder):
        state = json.loads((path / STATE).read_text())
        best = step and str(folder / f"checkpoint-{step}")
        state |= {"best_model_checkpoint": best, "best_global_step": step, "best_metric": step and 0.0}
        (path / STATE).write_text(json.dumps(state))
        seal(path)


# The last step


def test_a_run_killed_after_its_last_checkpoint_makes_no_further_step(toy_base, rows, tmp_path):
    """One that ends inside an epoch, with a learning rate that is not 0 there."""
    steady = dict(lr_scheduler_type="constant", max_steps=3, save_steps=3, eval_steps=3)
    runs.train(toy_base, rows, tmp_path / "whole", **steady)
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "again" / "checkpoint-3")
    runs.train(toy_base, rows, tmp_path / "again", **steady, resume_from_checkpoint="true")
    assert same_adapter(tmp_path / "whole", tmp_path / "again")
    assert [path.name for path in checkpoints(tmp_path / "again")] == ["checkpoint-3"]


def test_a_finished_run_says_that_nothing_is_left(toy_base, rows, killed, finished, capsys):
    figures = runs.train(toy_base, rows, killed, resume_from_checkpoint="true")
    assert "checkpoint-4 is at the run's last step: nothing is left to train" in capsys.readouterr().out
    assert same_adapter(killed, finished)
    assert (figures["train loss since the checkpoint"], figures["tokens/s"], figures["optimizer steps"]) == (None, 0, 4)


# What is kept


def test_the_clock_does_not_choose_what_is_kept(toy_base, rows, killed):
    shutil.rmtree(killed / "checkpoint-4")
    best_is(killed, None)
    os.utime(killed / "checkpoint-2", (4e9, 4e9))
    runs.train(
        toy_base, rows, killed, resume_from_checkpoint="true", save_total_limit=1, load_best_model_at_end="false",
        eval_strategy="no",
    )  # fmt: skip
    assert [path.name for path in checkpoints(killed)] == ["checkpoint-4"]


def test_with_a_limit_of_one_the_newest_checkpoint_outlives_the_last_evaluation(
    toy_base, rows, tmp_path, monkeypatch
):  # fmt: skip
    """The best one is kept beside it until the run has written its adapter."""
    monkeypatch.setattr("dialsum_trl.stages.common.run.save_adapter", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runs.train(toy_base, rows, tmp_path / "out", save_total_limit=1, greater_is_better=True)
    assert [path.name for path in checkpoints(tmp_path / "out")] == ["checkpoint-4", "checkpoint-2"]


# The best checkpoint


def test_a_best_checkpoint_that_is_gone_is_named_at_the_start(toy_base, rows, killed):
    best_is(killed, 2)
    shutil.rmtree(killed / "checkpoint-2")
    with pytest.raises(
        InputError, match=r"checkpoint-2, cannot be loaded at the end: .*--load_best_model_at_end false"
    ):
        runs.train(toy_base, rows, killed, resume_from_checkpoint="true")


def test_a_run_may_end_without_its_best_checkpoint(toy_base, rows, killed):
    best_is(killed, 2)
    shutil.rmtree(killed / "checkpoint-2")
    runs.train(toy_base, rows, killed, resume_from_checkpoint="true", load_best_model_at_end="false")
    assert same_adapter(killed, killed / "checkpoint-4")


def test_a_run_that_goes_on_in_another_folder_takes_its_best_checkpoint_along(
    toy_base, rows, killed, tmp_path
):  # fmt: skip
    best_is(killed, 2)
    output = tmp_path / "elsewhere"
    runs.train(toy_base, rows, output, resume_from_checkpoint=killed / "checkpoint-4")
    assert same_adapter(output, killed / "checkpoint-2") and same_adapter(output, output / "checkpoint-2")


def test_a_best_checkpoint_that_was_damaged_meanwhile_is_not_loaded(killed):
    (killed / "checkpoint-2" / WEIGHTS).unlink()
    state = SimpleNamespace(best_model_checkpoint=str(killed / "checkpoint-2"))
    args = SimpleNamespace(output_dir=killed, save_total_limit=None)
    trainer = SimpleNamespace(args=args, state=state, is_world_process_zero=lambda: True)
    with pytest.raises(TrainingError, match=r"the best checkpoint, .*checkpoint-2, cannot be loaded: .* is missing"):
        Checkpoints(trainer).load_best(None)


# Who writes where


def test_a_folder_with_another_run_is_not_continued_into(toy_base, rows, killed, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    with pytest.raises(InputError, match="holds another run"):
        runs.train(toy_base, rows, finished, resume_from_checkpoint=killed / "checkpoint-4")
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.parametrize("word", ["TRUE", "True", "latest", "checkpoint-2", "checkpoint-2/"])
def test_a_run_is_continued_however_its_checkpoint_is_called(finished, word):
    chosen = prepare_output_dir(arguments(finished, resume_from_checkpoint=word))
    assert chosen == str(finished / ("checkpoint-2" if "2" in word else "checkpoint-4"))


@pytest.mark.parametrize("word", ["False", "FALSE", ""])
def test_a_run_that_is_told_not_to_continue_starts_anew(tmp_path, word):
    assert prepare_output_dir(arguments(tmp_path, resume_from_checkpoint=word)) is None


@pytest.mark.parametrize("word", ["yes", "1", "checkpoint-8", "/nowhere/checkpoint-2"])
def test_a_checkpoint_that_is_not_there_is_said_to_be_so(finished, word):
    with pytest.raises(InputError, match=f"--resume_from_checkpoint {word}: no such folder; give true, or a path"):
        prepare_output_dir(arguments(finished, resume_from_checkpoint=word))


def test_two_runs_do_not_write_into_one_folder(toy_base, rows, held):
    with pytest.raises(InputError, match="another process is writing there"):
        runs.train(toy_base, rows, held[0])
    assert not list(held[0].iterdir())


def test_what_another_process_is_saving_is_not_cleared(toy_base, rows, killed, held):
    shutil.copytree(killed, held[0], dirs_exist_ok=True)
    (held[0] / SAVING / "checkpoint-6").mkdir(parents=True)
    with pytest.raises(InputError, match="another process is writing there"):
        runs.train(toy_base, rows, held[0], resume_from_checkpoint="true")
    assert (held[0] / SAVING / "checkpoint-6").is_dir()


def test_a_killed_process_lets_go(held):
    folder, other = held
    other.kill()
    other.wait()
    with sole.released_at_end():
        sole.sole_writer(folder)
        assert folder.resolve() in sole._locked
    assert folder.resolve() not in sole._locked


def arguments(folder, **more):
    return SimpleNamespace(
        **{"output_dir": folder, "resume_from_checkpoint": None, "enable_jit_checkpoint": False, **more}
    )


def test_a_folder_that_cannot_be_written_is_known_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # who runs tests may be allowed everything
    with pytest.raises(InputError, match=f"a/run: {tmp_path} cannot be written"):
        prepare_output_dir(arguments(tmp_path / "a" / "run"))


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_file_in_the_way_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no folder; give another folder"):
        prepare_output_dir(arguments(tmp_path / name))


def test_a_right_that_is_taken_away_later_is_one_line():
    line = problem(PermissionError(13, "Permission denied", "/data/out/x"), train_sft.stage)
    assert line.startswith("/data/out/x: Permission denied; ")


def test_checkpoints_in_the_middle_of_a_step_are_refused(tmp_path):
    wanted = arguments(tmp_path)
    wanted.enable_jit_checkpoint = True
    with pytest.raises(InputError, match="--enable_jit_checkpoint"):
        prepare_output_dir(wanted)


def test_a_checkpoint_of_the_model_alone_is_passed_over(toy_base, rows, killed, capsys):
    (killed / "checkpoint-4" / "rng_state.pth").unlink()
    seal(killed / "checkpoint-4")
    chosen, lines = choose(killed, "true")
    assert chosen.name == "checkpoint-2" and "checkpoint-4 is passed over: it holds the model alone" in lines[0]
