"""Where a run may write, and what it resumes."""

from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_writable
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.training.checkpoints.choose import checkpoints, choose, clear_leftovers, requested
from dialsum_trl.training.distributed.once import once


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
