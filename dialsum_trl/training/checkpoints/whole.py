"""Checkpoints are whole or absent: written to a temporary folder, sealed, then renamed."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.disk import disk_problem, free_gib
from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.core.files import write_json
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.models.file_names import RUN_FILE, SETTINGS_FILE
from dialsum_trl.training.checkpoints.choose import (
    SAVING,
    check_weights,
    checkpoints,
    clear_leftovers,
    newest_whole,
)
from dialsum_trl.training.checkpoints.manifest import flaw, seal, sync
from dialsum_trl.training.checkpoints.portable import Portable

STATE = "trainer_state.json"


class Checkpoints:
    """`checkpoint-N` appears in one rename when every process has written its part and it is sealed.

    The settings and the record of `run_info` are written into each. The folder must be one that all processes see, as
    for the trainer's own checkpoints. `save_total_limit` is applied here: transformers sorts by file times, and with
    a limit of 1 deletes the newest checkpoint before the last one is written.

    Args:
        trainer: a `checked.CheckedTrainer`.
    """

    def __init__(self, trainer):
        self.trainer, self.portable = trainer, Portable(trainer)
        self.folder, self.aside = Path(trainer.args.output_dir), None
        self.first_step = 0  # of this process: how many were made before
        self.limit, trainer.args.save_total_limit = trainer.args.save_total_limit, None

    def save(self, write: Callable[[], None]) -> None:
        """Has `write` write a checkpoint to a temporary folder, seals it and renames it."""
        trainer, aside = self.trainer, self.folder / SAVING
        written = aside / f"checkpoint-{trainer.state.global_step}"
        if trainer.args.should_save:
            clear_leftovers(self.folder)
        trainer.accelerator.wait_for_everyone()
        self.aside = str(aside)
        try:
            write()
            self._name_best(written)
            trainer.accelerator.wait_for_everyone()
            if trainer.args.should_save:
                if (settings := trainer.run_info.settings) is not None:
                    (written / SETTINGS_FILE).write_text(json.dumps(settings) + "\n", encoding="utf-8")
                self.write_record(written)
                seal(written)
                take_place(written, self.folder / written.name)
        except Exception as error:  # each library has its own type, tokenizers a plain Exception
            reason = disk_problem(error)
            if reason is None:
                raise
            shutil.rmtree(written, ignore_errors=True)  # an incomplete checkpoint only takes up space
            raise TrainingError(
                f"step {trainer.state.global_step}: the checkpoint could not be written ({reason}; "
                f"{free_gib(self.folder):.2f} GiB free in {self.folder}). {last_good(self.folder)} Free some space, or "
                f"write elsewhere"
            ) from error
        finally:
            self.aside = None
        if trainer.args.should_save:
            self._rotate(aside)
            with contextlib.suppress(OSError):  # not empty: not ours alone
                aside.rmdir()
        trainer.accelerator.wait_for_everyone()

    def write_record(self, folder: Path) -> None:
        """Writes the record of a run into a folder of weights; scores belong only to the last weights."""
        if self.trainer.run_info.record is not None:
            write_json(folder / RUN_FILE, self.trainer.record({}) | {"evaluation": None})

    def _name_best(self, written: Path) -> None:
        """The best checkpoint by the name it will have, in the state and in the file that was just written."""
        state = self.trainer.state
        best = self.folder / f"checkpoint-{state.best_global_step}"
        if state.best_global_step and (best.name == written.name or best.is_dir()):
            state.best_model_checkpoint = str(best)
            if self.trainer.args.should_save:
                state.save_to_json(str(written / STATE))

    def _rotate(self, aside: Path) -> None:
        """Keeps `save_total_limit` checkpoints, the one just written and the best among them.

        Sorted by step: clocks of machines differ, and a copy has the time of copying. Checkpoints of higher steps are
        of an abandoned run.
        """
        now = self.trainer.state.global_step
        found = {path: int(path.name.split("-")[1]) for path in checkpoints(self.folder)}
        kept = {f"checkpoint-{now}", Path(self.trainer.state.best_model_checkpoint or "").name}
        spare = [path for path in found if path.name not in kept]
        surplus = len(found) - self.limit if self.limit and self.limit > 0 else 0
        for path in sorted(spare, key=lambda path: (found[path] < now, found[path]))[: max(0, surplus)]:
            aside.mkdir(exist_ok=True)
            os.rename(path, aside / path.name)
            shutil.rmtree(aside / path.name)

    def prepare(self, usual: Callable, max_steps: int, checkpoint: str | None):
        """Has model and optimizer prepared by `usual(checkpoint)`, and their states loaded."""
        trainer = self.trainer
        if trainer.args.should_save:
            sole_writer(trainer.args.output_dir)
        if checkpoint is not None:
            trainer.state.best_model_checkpoint = self._best_so_far(Path(checkpoint))
            trainer.accelerator.wait_for_everyone()
            self.first_step = trainer.state.global_step
            if self.first_step >= max_steps:
                say(f"{checkpoint} is at the run's last step: nothing is left to train")
            if counted := [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]:
                trainer._total_train_tokens = int(counted[-1])  # TRL's count starts at 0
        if checkpoint is not None and self.portable.gathers():
            prepared = usual(None)
            trainer.load_weights(checkpoint, self.portable.put_adapter)
            trainer._load_optimizer_and_scheduler(checkpoint)
            return prepared
        return usual(checkpoint)

    def _best_so_far(self, checkpoint: Path) -> str | None:
        """The best checkpoint that the run will need, in the same folder as the one it continues from.

        The state of the trainer drops one that is not at its recorded path.
        """
        named = read_json(checkpoint / STATE, "continue from another checkpoint").get("best_model_checkpoint")
        if named is None:
            return None
        name = Path(named).name  # the folder may have been moved
        best = next((path / name for path in (checkpoint.parent, self.folder) if (path / name).is_dir()), None)
        if not self.trainer.args.load_best_model_at_end:
            return str(best or checkpoint.parent / name)
        if self.trainer.is_world_process_zero():
            best = best or checkpoint.parent / name
            if reason := flaw(best):
                raise InputError(
                    f"--resume_from_checkpoint {checkpoint}: the best checkpoint so far, {best}, cannot be loaded at "
                    f"the end: {reason}; restore it, or keep the last step: --load_best_model_at_end false"
                )
            if best.parent != self.folder and not (self.folder / name).exists():
                written = self.folder / SAVING / name
                shutil.copytree(best, written)
                take_place(written, self.folder / name)
                with contextlib.suppress(OSError):  # not empty: not ours alone
                    written.parent.rmdir()
        return str(self.folder / name)

    def load_best(self, usual: Callable[[], None]) -> None:
        """Puts the best checkpoint's model back at the end of a run."""
        trainer, best = self.trainer, self.trainer.state.best_model_checkpoint
        if trainer.is_world_process_zero() and (reason := flaw(best)):
            raise TrainingError(f"the best checkpoint, {best}, cannot be loaded: {reason}")
        check_weights(Path(best))
        if self.portable.gathers():
            self.portable.put_adapter(best)
        else:
            usual()


def take_place(written: Path, target: Path) -> None:
    """Renames a finished folder to its name; an older one of that name is removed."""
    old = written.with_name(f"{written.name}.old")
    if target.exists():
        os.rename(target, old)
    os.rename(written, target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def last_good(folder: str | Path) -> str:
    """A sentence that names the checkpoint a run in `folder` can continue from."""
    found, _ = newest_whole(Path(folder))
    if found is None:
        return "There is no checkpoint yet."
    return f"The last good checkpoint, {found}, is untouched: continue with --resume_from_checkpoint true."
