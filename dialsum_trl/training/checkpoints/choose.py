"""Where a run may write, and which checkpoint it continues from: the newest whole one, or the one that was named."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_writable
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.models.file_names import PICKLE, WEIGHTS
from dialsum_trl.models.files import shards_of
from dialsum_trl.training.checkpoints.manifest import flaw
from dialsum_trl.training.distributed.once import once

SAVING = ".dialsum-saving"  # in output_dir: what is being written or deleted; never resumed from
PICKLES = {  # what transformers reads if there are no safetensors; pytorch_model_fsdp.bin is FSDP's own
    PICKLE: (WEIGHTS,),
    "pytorch_model.bin": ("model.safetensors",),
    "pytorch_model.bin.index.json": ("model.safetensors", "model.safetensors.index.json"),
}
NAME = re.compile(r"checkpoint-(\d+)$")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders of an `output_dir`, whole or not, highest step first."""
    found = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := NAME.match(path.name))]
    return [path for _, path in sorted(found, reverse=True) if path.is_dir()]


def newest_whole(folder: Path, problem: Callable[[Path], str | None] = flaw) -> tuple[Path | None, list[str]]:
    """The newest checkpoint without a `problem`, and a line for each newer one that has one."""
    skipped = []
    for path in checkpoints(folder):
        if (reason := problem(path)) is None:
            return path, skipped
        skipped.append(f"{path} is passed over: {reason}")
    return None, skipped


def requested(resume: str | None, folder: Path) -> str | None:
    """`--resume_from_checkpoint` resolved: None for a new run, "true", or the path of a checkpoint.

    The bare name of a checkpoint in `folder`, the run's own, is also accepted.
    """
    word = (resume or "false").lower()
    if word in ("false", "true", "latest"):
        return None if word == "false" else "true"
    if Path(resume).exists():
        return resume
    if NAME.match(str(Path(resume))) and (folder / resume).is_dir():
        return str(folder / resume)
    raise InputError(
        f"--resume_from_checkpoint {resume}: no such folder; give true, or a path such as {folder / 'checkpoint-100'}"
    )


def choose(folder: Path, resume: str) -> tuple[Path, list[str]]:
    """The checkpoint that a run continues from ("true" or a path, of `requested`), and lines to print.

    Raises:
        InputError: there is none, or the named one is not whole, holds no optimizer state or has
            its weights as a pickle only.
    """
    if resume == "true":
        chosen, lines = newest_whole(folder, _unusable)
        if chosen is None:
            reason = "".join(f"; {line}" for line in lines)
            raise InputError(f"--resume_from_checkpoint: {folder} holds no checkpoint to continue from{reason}")
    else:
        chosen, lines = Path(resume), []
        if not (chosen / "trainer_state.json").exists():
            raise InputError(
                f"--resume_from_checkpoint {resume}: is no checkpoint folder (it lacks trainer_state.json); give true, "
                f"or a path such as {folder / 'checkpoint-100'}"
            )
        if reason := _unusable(chosen):
            raise InputError(
                f"--resume_from_checkpoint {resume}: {reason}; --resume_from_checkpoint true takes the newest whole one"
            )
    check_weights(chosen)
    return chosen, lines


def _unusable(checkpoint: Path) -> str | None:
    """Why a run cannot continue from a checkpoint, in a few words; or None."""
    if reason := flaw(checkpoint):
        return reason
    if any(checkpoint.glob("rng_state*.pth")):  # written with the optimizer's state, whose name is the method's
        return None
    return (
        "it holds the model alone (--save_only_model true), and a run that continues needs the optimizer's state too; "
        "use its adapter with --adapter_path and another --output_dir"
    )


def check_weights(checkpoint: Path) -> None:
    """Raises InputError where weights are a pickle only, or their index names files elsewhere."""
    for index in checkpoint.glob("*.index.json"):
        shards_of(index, "continue from another checkpoint")
    for folder in (checkpoint, *(path for path in checkpoint.iterdir() if path.is_dir())):  # peft's named adapters
        for pickled, instead in PICKLES.items():
            if (folder / pickled).exists() and not any((folder / name).is_file() for name in instead):
                raise InputError(
                    f"{folder}: holds its weights as a pickle ({pickled}), which can run code; only safetensors are "
                    f"read: continue from another checkpoint"
                )


def clear_leftovers(folder: Path) -> None:
    """Deletes what a killed run left half-written in its own place, and nothing else."""
    for path in (folder / SAVING).glob("checkpoint-*"):
        shutil.rmtree(path)


def prepare_output_dir(args) -> str | None:
    """Checks `output_dir` and returns the checkpoint to resume from, or None for a fresh run.

    A checkpoint is verified before it is chosen, on the first process of the run; what a killed run left half-written
    in its own place is deleted.

    Raises:
        InputError: the folder cannot be written, holds another run than the one to continue, or another process
            writes into it; or there is nothing whole to resume from.
    """
    if args.enable_jit_checkpoint:  # written inside a step, after its random draws
        raise InputError("--enable_jit_checkpoint: a run does not continue exactly from such; use --save_steps")
    folder = Path(args.output_dir)
    check_writable(folder)
    resume = requested(args.resume_from_checkpoint, folder)
    fresh = resume is None
    elsewhere = resume != "true" and (fresh or Path(resume).resolve().parent != folder.resolve())
    if elsewhere and (checkpoints(folder) or (folder / "adapter_config.json").exists()):
        raise InputError(
            f"--output_dir {folder}: holds {'an earlier' if fresh else 'another'} run; continue it with "
            f"--resume_from_checkpoint true or choose another folder (nothing is ever overwritten)"
        )
    if fresh:
        return None

    def whole() -> str:
        sole_writer(folder)
        chosen, lines = choose(folder, resume)
        for line in lines:
            say(line)
        clear_leftovers(folder)
        say(f"continues from {chosen}")
        return str(chosen)

    return once(whole)
