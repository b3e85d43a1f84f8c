"""Which checkpoint a run continues from: the newest whole one, or the one that was named."""

import re
import shutil
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.file_names import PICKLE, WEIGHTS
from dialsum_trl.models.files import shards_of
from dialsum_trl.training.checkpoints.manifest import flaw

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


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and a line for each newer one that does not."""
    skipped = []
    for path in checkpoints(folder):
        if (reason := flaw(path)) is None:
            return path, skipped
        skipped.append(f"{path} is passed over: {reason}")
    return None, skipped


def requested(resume: str | None, folder: Path) -> str | None:
    """`--resume_from_checkpoint` resolved: None for a new run, "true", or the path of a checkpoint.

    The bare name of a checkpoint in `folder`, the run's own, is also accepted.

    Raises:
        InputError: it names a place that is not there.
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
        chosen, lines = newest_whole(folder) if folder.is_dir() else (None, [])
        if chosen is None:
            reason = f"; {'; '.join(lines)}" if lines else ""
            raise InputError(f"--resume_from_checkpoint: {folder} holds no checkpoint to continue from{reason}")
        older = (path for path in checkpoints(folder) if _has_optimizer(path) and flaw(path) is None)
        if not _has_optimizer(chosen) and (instead := next(older, None)):
            lines.append(f"{chosen} is passed over: it holds the model alone (--save_only_model true)")
            chosen = instead
    else:
        chosen, lines = Path(resume), []
        if not (chosen / "trainer_state.json").exists():
            raise InputError(
                f"--resume_from_checkpoint {resume}: is no checkpoint folder (it lacks trainer_state.json); give true, "
                f"or a path such as {folder / 'checkpoint-100'}"
            )
        if reason := flaw(chosen):
            raise InputError(
                f"--resume_from_checkpoint {resume}: {reason}; --resume_from_checkpoint true takes the newest whole one"
            )
    if not _has_optimizer(chosen):
        raise InputError(
            f"--resume_from_checkpoint {chosen}: holds the model alone (--save_only_model true): a run that continues "
            f"needs the optimizer's state too; use the adapter with --adapter_path and another --output_dir"
        )
    check_weights(chosen)
    return chosen, lines


def _has_optimizer(checkpoint: Path) -> bool:
    return any(checkpoint.glob("rng_state*.pth"))  # written with the optimizer's, whose name is the method's


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
