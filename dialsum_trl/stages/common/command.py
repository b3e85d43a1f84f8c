"""`command(stage)`: settings resolved, folder let go, errors in one line, exit codes, memory hints of the stage."""

import functools
import os
import pickle
import sys
import time

from dialsum_trl.core.console import quiet_libraries
from dialsum_trl.core.disk import causes, file_problem
from dialsum_trl.core.errors import InputError, TrainingError

OTHER_RANKS_WAIT = 5.0  # seconds
INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
# what Gloo and NCCL say in the processes that go on when another one has ended
ANOTHER_ENDED = ("gloo/transport", "Connection closed by peer", "remote process exited")


def _go_on(function: str) -> str:
    """How the work of an interrupted stage is taken up again."""
    if function.startswith("train_"):
        return "a run with checkpoints goes on with the same command and --resume_from_checkpoint true"
    return "the same command starts it again, and goes on where it keeps what is done"


def command(function):
    """Makes a stage usable as a command and as a function.

    Called without `argv` (from a recipe) an `InputError` becomes one line on stderr and exit code 2 (a
    `TrainingError`: exit code 1); called with `argv` (from Python or a test) it is raised as it is. What a full GPU or
    a full disk raises becomes a `TrainingError` that names the remedy.
    """

    def run(recipe, argv):
        from dialsum_trl.core.lock import let_go_at_end

        try:
            with let_go_at_end():
                return function(recipe, argv)
        except pickle.UnpicklingError as error:  # torch.load(weights_only=True) met code
            raise InputError(
                "--resume_from_checkpoint: a file of the checkpoint holds more than tensors, which could run code, "
                "and is not read; continue from a checkpoint that training wrote"
            ) from error
        except (InputError, TrainingError):
            raise
        except Exception as error:  # a full disk has as many types as there are libraries; all others go on
            if (line := problem(error, function.__name__)) is None:
                raise
            raise TrainingError(line) from error

    @functools.wraps(function)
    def wrapper(recipe=None, argv=None):
        if argv is not None:
            return run(recipe or {}, argv)
        quiet_libraries()
        try:
            result = run(recipe or {}, sys.argv[1:])
        except (InputError, TrainingError) as error:
            sys.stdout.flush()
            if rank := int(os.environ.get("RANK", "0")):
                # where all ranks fail alike, rank 0 speaks and the launcher ends the others within this time
                time.sleep(OTHER_RANKS_WAIT)
            print(f"error: {f'rank {rank}: ' if rank else ''}{error}", file=sys.stderr, flush=True)
            sys.exit(2 if isinstance(error, InputError) else 1)
        except KeyboardInterrupt:
            if not int(os.environ.get("RANK", "0")):
                print(f"interrupted; {_go_on(function.__name__)}", file=sys.stderr, flush=True)
            sys.exit(INTERRUPTED)
        except RuntimeError as error:
            if any(text in str(error) for text in ANOTHER_ENDED):
                time.sleep(OTHER_RANKS_WAIT)  # the other one has said why; the launcher ends this one meanwhile
            raise
        from dialsum_trl.core.processes import end_process_group

        end_process_group()
        return result

    return wrapper


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


def gpu_memory_problem(error: BaseException, stage: str) -> str | None:
    """The line for an error that says that GPU memory ran out, with three flags of `stage`; otherwise None."""
    if "torch" not in sys.modules:  # an error of torch's comes from torch
        return None
    import torch

    full = next((e for e in causes(error) if isinstance(e, torch.OutOfMemoryError)), None)
    if full is None:
        texts = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA out of memory")
        full = next((e for e in causes(error) if isinstance(e, RuntimeError) and any(t in str(e) for t in texts)), None)
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
