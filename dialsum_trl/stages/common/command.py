"""`command`: a stage made usable as a command and as a function; errors in one line, exit codes, memory hints."""

import os
import pickle
import sys
import time
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

from dialsum_trl.core.console import is_main_process, quiet_libraries
from dialsum_trl.core.disk import causes, file_problem
from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.core.files import json_text
from dialsum_trl.core.lock import released_at_end
from dialsum_trl.core.processes import end_process_group
from dialsum_trl.core.settings.resolve import resolve
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.core.settings.yaml_file import as_tokens
from dialsum_trl.metrics.rouge import RougeReport

STAGES = (  # sections of a `--config` file
    "sft", "seq2seq", "preferences", "reward", "ppo", "dpo", "grpo", "predict", "ensemble", "postprocess",
    "decoding_sweep", "report", "distill", "folds", "search",
)  # fmt: skip
OTHER_RANKS_WAIT = 5.0  # seconds
INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
# what Gloo and NCCL report in the remaining processes when another one has ended
ANOTHER_ENDED = ("gloo/transport", "Connection closed by peer", "remote process exited")


class StageFunction(Protocol):
    """A stage as it is called: from a recipe, or from Python."""

    stage: Stage

    def __call__(
        self, recipe: dict[str, Any] | None = None, argv: list[str] | None = None, **settings: Any
    ) -> dict[str, Any]: ...


def command(stage: Stage, name: str, doc: str) -> StageFunction:
    """Makes a stage callable.

    Called with a recipe alone (from a recipe file), it takes the flags of the command line; an `InputError` becomes one
    line on stderr and exit code 2, a `TrainingError` one line and exit code 1. With `--json` what it returns is the
    only text on stdout, everything else goes to stderr. Called with settings by keyword or with `argv` (from Python or
    a test), it leaves the command line alone and raises errors as they are; settings by keyword count as flags. An
    error of a full GPU or a full disk becomes a `TrainingError` that names the remedy.

    Args:
        stage: its job has `run(*settings)`, and what `settings.resolve` takes of it.
        name, doc: of the function.
    """
    stage = replace(stage, sections=STAGES)

    def run(recipe: dict, argv: list[str]) -> dict:
        try:
            with released_at_end():
                settings = resolve(stage, recipe, argv)
                return resolve_name(stage.job).run(*settings)
        except pickle.UnpicklingError as error:  # torch.load(weights_only=True) met code
            raise InputError(
                "--resume_from_checkpoint: a file of the checkpoint holds more than tensors, which could run code, "
                "and is not read; continue from a checkpoint that training wrote"
            ) from error
        except (InputError, TrainingError):
            raise
        except Exception as error:  # each library has its own for a full disk; all others are raised as they are
            if (line := problem(error, stage)) is None:
                raise
            raise TrainingError(line) from error

    def function(recipe=None, argv=None, **settings):
        if argv is not None or settings:
            return run(recipe or {}, [*as_tokens(settings)[0], *(argv or [])])
        quiet_libraries()
        as_json = "--json" in sys.argv
        try:
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                result = run(recipe or {}, [word for word in sys.argv[1:] if word != "--json"])
        except (InputError, TrainingError) as error:
            sys.stdout.flush()
            if rank := int(os.environ.get("RANK", "0")):
                # if all ranks fail alike, rank 0 prints and the launcher ends the others within this time
                time.sleep(OTHER_RANKS_WAIT)
            print(f"error: {f'rank {rank}: ' if rank else ''}{error}", file=sys.stderr, flush=True)
            sys.exit(2 if isinstance(error, InputError) else 1)
        except KeyboardInterrupt:
            if is_main_process():
                resume = "resume a run with checkpoints with the same command and --resume_from_checkpoint true"
                again = "the same command starts it again, and continues from what was kept"
                print(f"interrupted; {resume if stage.trains else again}", file=sys.stderr, flush=True)
            sys.exit(INTERRUPTED)
        except RuntimeError as error:
            if any(text in str(error) for text in ANOTHER_ENDED):
                time.sleep(OTHER_RANKS_WAIT)  # the other one has printed the reason; the launcher ends this one
            raise
        end_process_group()
        if as_json and is_main_process():
            print(json_text(result, _plain), end="")
        return result

    function.__name__ = function.__qualname__ = name
    function.__doc__, function.stage = doc, stage
    return function


def _plain(value: Any) -> Any:
    """A report, a record or a path of a stage's result as JSON knows it."""
    if isinstance(value, RougeReport):
        return value.to_dict()
    return str(value) if isinstance(value, Path) else asdict(value)


def gpu_memory_problem(error: BaseException, flags: tuple[str, str, str]) -> str | None:
    """The line for an error that says that GPU memory ran out, with the three flags that help; otherwise None."""
    texts = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")  # torch.OutOfMemoryError is a RuntimeError
    full = next((e for e in causes(error) if isinstance(e, RuntimeError) and any(t in str(e) for t in texts)), None)
    if full is None:
        return None
    reason = " ".join(str(full).split()).split(". ")
    return (
        f"out of GPU memory ({'. '.join(reason[:2])[:160]}): lower {flags[0]} or {flags[1]}, or "
        f"{'set' if ' ' in flags[2] else 'lower'} {flags[2]}; `dialsum doctor` says what fits this GPU"
    )


def problem(error: BaseException, stage: Stage) -> str | None:
    """One line for an error of a full GPU, a full disk or a file that is not to be used; None for any other."""
    return gpu_memory_problem(error, stage.memory_flags) or file_problem(error)
