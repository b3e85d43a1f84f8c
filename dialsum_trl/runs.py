"""A run and its folder: where it may write, what it resumes from, what it used."""

from pathlib import Path

from dialsum_trl.errors import InputError


def prepare_output_dir(args) -> str | None:
    """Checks `output_dir` and returns the checkpoint to resume from, or None for a fresh run.

    Raises:
        InputError: the folder holds an earlier run and `--resume_from_checkpoint` was not given, or there is nothing
            to resume from.
    """
    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder}: is a file; give a folder")
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    resume = args.resume_from_checkpoint
    if resume in (None, "", "false", "False"):
        if last or (folder / "adapter_config.json").exists():
            raise InputError(
                f"--output_dir {folder}: holds an earlier run; continue it with --resume_from_checkpoint true or "
                f"choose another folder (nothing is ever overwritten)"
            )
        return None
    if resume in ("true", "True", "latest"):
        if last is None:
            raise InputError(f"--resume_from_checkpoint: {folder} holds no checkpoint to continue from")
        return last
    if not (Path(resume) / "trainer_state.json").exists():
        raise InputError(f"--resume_from_checkpoint {resume}: is no checkpoint folder (it lacks trainer_state.json)")
    return resume


def without_evaluation(args) -> None:
    """Switches off what needs dev rows, when there are none."""
    args.eval_strategy = "no"
    args.load_best_model_at_end = False
    args.metric_for_best_model = None


def peak_memory_gib() -> float:
    """Highest GPU memory reserved by this process, GiB (0 without a GPU)."""
    import torch

    return round(torch.cuda.max_memory_reserved() / 2**30, 2) if torch.cuda.is_available() else 0.0
