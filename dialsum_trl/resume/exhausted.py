"""No room left: what a full disk or a full GPU says in many words and types becomes one line that names the remedy."""

import errno
import os
import shutil
import sys
from pathlib import Path

NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# as safetensors (Rust) and torch.save (C++) report it; the latter says no more than that
DISK_TEXTS = ("(os error 28)", "(os error 27)", "(os error 122)", "No space left")
DISK_TEXTS += ("PytorchStreamWriter failed", "basic_ios::clear: iostream error", "unexpected pos")
CUT_OFF = "was cut off while it was written"
TRAINING = ("--per_device_train_batch_size", "--max_length", "--activation_checkpointing true")
POLICY = ("--per_device_train_batch_size", "--max_length", "--max_completion_length")
DECODING = ("--batch_size", "--max_length", "--max_new_tokens")
MEMORY_FLAGS = {  # stage function -> the three flags that help most
    "train_sft": ("--memory_gib", "--per_device_train_batch_size", "--max_length"),
    "train_seq2seq": ("--per_device_train_batch_size", "--max_source_length", "--activation_checkpointing true"),
    "train_reward": TRAINING,
    "train_dpo": TRAINING,
    "train_ppo": POLICY,
    "train_grpo": POLICY,
    "predict": DECODING,
    "decoding_sweep": DECODING,
    "make_preferences": DECODING,
}


def _chain(error: BaseException):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def disk_problem(error: BaseException) -> str | None:
    """What kept a file from being written, when it was the disk; otherwise None."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in DISK_FULL:
            return os.strerror(each.errno)
    for each in _chain(error):
        if any(text in str(each) for text in DISK_TEXTS) or (isinstance(each, OSError) and CUT_OFF in str(each)):
            return " ".join(str(each).split())[:160]
    return None


def free_gib(folder: str | Path) -> float:
    """Room on the disk of `folder`, GiB."""
    return shutil.disk_usage(folder).free / 2**30


def gpu_memory_problem(error: BaseException, stage: str) -> str | None:
    """The line for an error that says that GPU memory ran out, with three flags of `stage`; otherwise None."""
    if "torch" not in sys.modules:  # an error of torch's comes from torch
        return None
    import torch

    full = next((e for e in _chain(error) if isinstance(e, torch.OutOfMemoryError)), None)
    if full is None:
        texts = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA out of memory")
        full = next((e for e in _chain(error) if isinstance(e, RuntimeError) and any(t in str(e) for t in texts)), None)
    if full is None:
        return None
    flags = MEMORY_FLAGS.get(stage, DECODING)
    reason = " ".join(str(full).split()).split(". ")
    return (
        f"out of GPU memory ({'. '.join(reason[:2])[:160]}): lower {flags[0]} or {flags[1]}, or "
        f"{'set' if ' ' in flags[2] else 'lower'} {flags[2]}; `dialsum doctor` says what fits this GPU"
    )


def problem(error: BaseException, stage: str) -> str | None:
    """One line for an error of a full GPU, a full disk or a file that is not to be used; None for any other."""
    return gpu_memory_problem(error, stage) or file_problem(error)


def file_problem(error: BaseException) -> str | None:
    """One line for an error of a full disk or a file that is not to be used; None for any other."""
    if reason := disk_problem(error):
        return (
            f"a file could not be written ({reason}): free some space and run the same command again, a training run "
            f"with --resume_from_checkpoint true"
        )
    if isinstance(error, OSError) and error.errno in NOT_ALLOWED and error.filename is not None:
        return f"{error.filename}: {os.strerror(error.errno)}; give another folder, or get the right to use it"
    return None
