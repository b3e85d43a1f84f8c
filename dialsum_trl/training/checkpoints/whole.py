"""Checkpoints that are whole or absent: written aside, sealed, then renamed; old ones lose their name first."""

import contextlib
import json
import os
import shutil
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.disk import disk_problem, free_gib
from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.core.files import write_json
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.models.file_names import RUN_FILE, SETTINGS_FILE
from dialsum_trl.training.checkpoints.choose import SAVING, checkpoints, clear_leftovers, delete, newest_whole
from dialsum_trl.training.checkpoints.manifest import flaw, seal, sync
from dialsum_trl.training.checkpoints.untrusted import best_of, check_names, tensors_alone

STATE = "trainer_state.json"


class WholeCheckpoints:
    """Trainer mixin: `checkpoint-N` appears in one rename when every process has written its part and it is sealed.

    The settings and the record of `run_info` are written into each. The folder must be one that all processes see, as
    for the trainer's own checkpoints.
    """

    _aside: str | None = None

    def _get_output_dir(self, trial):
        return self._aside or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial):
        folder = Path(super()._get_output_dir(trial))
        aside, name = folder / SAVING, f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            clear_leftovers(folder)
        self.accelerator.wait_for_everyone()
        self._aside = str(aside)
        try:
            super()._save_checkpoint(model, trial)
            self._name_best(folder, aside / name)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                if (settings := self.run_info.settings) is not None:
                    (aside / name / SETTINGS_FILE).write_text(json.dumps(settings) + "\n", encoding="utf-8")
                self.write_record(aside / name)
                seal(aside / name)
                _take_place(aside / name, folder / name)
        except Exception as error:  # each library raises its own, tokenizers no more than this; the others go on
            reason = disk_problem(error)
            if reason is None:
                raise
            shutil.rmtree(aside / name, ignore_errors=True)  # half a checkpoint only takes the room that is missing
            raise TrainingError(
                f"step {self.state.global_step}: the checkpoint could not be written ({reason}; "
                f"{free_gib(folder):.2f} GiB free in {folder}). {last_good(folder)} Free some space, or write elsewhere"
            ) from error
        finally:
            self._aside = None
        if self.args.should_save:
            self._rotate(folder, aside)
            with contextlib.suppress(OSError):  # not empty: not ours alone
                aside.rmdir()
        self.accelerator.wait_for_everyone()

    def write_record(self, folder: Path) -> None:
        """Says in a folder of weights how they are to be used; the scores of the run are its last weights' alone."""
        if self.run_info.record is not None:
            write_json(folder / RUN_FILE, self.record({}) | {"evaluation": None})

    def _name_best(self, folder: Path, written: Path) -> None:
        """The best checkpoint by the name it will have, in the state and in the file that was just written."""
        best = self.state.best_model_checkpoint
        if best and Path(best).parent == written.parent:
            named = folder / Path(best).name
        elif self.state.best_global_step and not (best and Path(best).is_dir()):  # the folder was moved or renamed
            named = folder / f"checkpoint-{self.state.best_global_step}"
            if not named.is_dir():
                return
        else:
            return
        self.state.best_model_checkpoint = str(named)
        if self.args.should_save:
            self.state.save_to_json(str(written / STATE))

    def _rotate(self, folder: Path, aside: Path) -> None:
        """Keeps `save_total_limit` checkpoints, the one just written and the best among them.

        By their steps: the clocks of machines differ, and a copy has the time of the copying. Those of higher steps
        are of a run that this one left behind.
        """
        limit, now = self.args.save_total_limit, self.state.global_step
        if limit is None or limit <= 0:
            return
        kept = {f"checkpoint-{now}", Path(self.state.best_model_checkpoint or "").name}
        found = {path: int(path.name.split("-")[1]) for path in checkpoints(folder)}
        spare = sorted(
            (path for path in found if path.name not in kept), key=lambda path: (found[path] < now, found[path])
        )
        for path in spare[: max(0, len(found) - limit)]:
            aside.mkdir(exist_ok=True)
            os.rename(path, aside / path.name)
            delete(aside / path.name)

    def _run_epoch(self, *args, **kwargs):
        """None behind the last step: transformers looks whether a run is over only when it has made a step."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def _finalize_training(self, *args, **kwargs):
        """With a limit of 1, transformers deletes the newest checkpoint here: before the run's last writing."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        if self.args.should_save:
            sole_writer(self.args.output_dir)
        if resume_from_checkpoint is not None:
            folder = Path(super()._get_output_dir(None))
            self.state.best_model_checkpoint = self._best_so_far(Path(resume_from_checkpoint), folder)
            self.accelerator.wait_for_everyone()
            if self.state.global_step >= max_steps:
                say(f"{resume_from_checkpoint} is at the run's last step: nothing is left to train")
        with tensors_alone(self.is_deepspeed_enabled):
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)

    def _best_so_far(self, checkpoint: Path, folder: Path) -> str | None:
        """The best checkpoint that a run in `folder` will need, which lies beside the one that it continues from.

        The state of the trainer forgets one that is not where it was written.

        Raises:
            InputError: it is gone or damaged, and the run is to end with it.
        """
        state = read_json(checkpoint / STATE, "continue from another checkpoint")
        best = best_of(state.get("best_model_checkpoint"), [checkpoint.parent, folder])
        if best is None or not self.args.load_best_model_at_end:
            return best
        if self.is_world_process_zero():
            if reason := flaw(best):
                raise InputError(
                    f"--resume_from_checkpoint {checkpoint}: the best checkpoint so far, {best}, cannot be loaded at "
                    f"the end: {reason}; put it back, or end with the last step: --load_best_model_at_end false"
                )
            bring(Path(best), folder)
        return str(folder / Path(best).name)

    def _load_best_model(self):
        best = self.state.best_model_checkpoint
        if self.is_world_process_zero() and (reason := flaw(best)):
            raise TrainingError(f"the best checkpoint, {best}, cannot be loaded: {reason}")
        check_names(Path(best))
        with tensors_alone(self.is_deepspeed_enabled):
            super()._load_best_model()


def _take_place(written: Path, target: Path) -> None:
    """Renames a sealed checkpoint to its name; one of the same step gives way first."""
    old = written.with_name(f"{written.name}.old")
    if target.exists():
        os.rename(target, old)
    os.rename(written, target)
    sync(target.parent)
    with contextlib.suppress(OSError):
        delete(old)


def bring(checkpoint: Path, folder: Path) -> None:
    """Copies a checkpoint of another folder into this one, unless it is there already."""
    if (folder / checkpoint.name).exists():
        return
    written = folder / SAVING / checkpoint.name
    shutil.copytree(checkpoint, written)
    _take_place(written, folder / checkpoint.name)
    with contextlib.suppress(OSError):
        written.parent.rmdir()


def last_good(folder: str | Path) -> str:
    """A sentence that names the checkpoint a run in `folder` can continue from."""
    found, _ = newest_whole(Path(folder))
    if found is None:
        return "There is no checkpoint yet."
    return f"The last good checkpoint, {found}, is untouched: continue with --resume_from_checkpoint true."
