"""Errors at the boundary: one line that says what is wrong, where, and how to mend it."""

import contextlib
import functools
import os
import pickle
import re
import sys
import time

from dialsum_trl.console import printable, quiet_libraries

OTHER_RANKS_WAIT = 5.0  # seconds
LONGEST = 1500  # characters of a message
INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
# what Gloo and NCCL say in the processes that go on when another one has ended
ANOTHER_ENDED = ("gloo/transport", "Connection closed by peer", "remote process exited")


def one_line(message: str) -> str:
    """A message as one printable line: what a file put into it neither breaks it nor moves the terminal's cursor."""
    text = printable(re.sub(r"\s*[\r\n]\s*", " ", str(message)))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


class InputError(ValueError):
    """Something the user gave (a file, a row, a flag) is wrong. The message is one line and names the remedy."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class TrainingError(RuntimeError):
    """A run went wrong in a way that more steps cannot mend (NaN loss, an adapter that does not train)."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


def _go_on(function: str) -> str:
    """How the work of an interrupted stage is taken up again."""
    if function.startswith("train_"):
        return "a run with checkpoints goes on with the same command and --resume_from_checkpoint true"
    return "the same command starts it again, and goes on where it keeps what is done"


@contextlib.contextmanager
def settings_in_one_line():
    """What a trainer or its config says of settings that do not go together becomes an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, ImportError) as error:
        raise InputError(f"settings: {error}") from error


def command(function):
    """Makes a stage usable as a command and as a function.

    Called without `argv` (from a recipe) an `InputError` becomes one line on stderr and exit code 2 (a
    `TrainingError`: exit code 1); called with `argv` (from Python or a test) it is raised as it is. What a full GPU or
    a full disk raises becomes a `TrainingError` that names the remedy.
    """

    def run(recipe, argv):
        from dialsum_trl.resume.exhausted import problem
        from dialsum_trl.resume.sole import let_go_at_end

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
        from dialsum_trl.scale.processes import end_process_group

        end_process_group()
        return result

    return wrapper
