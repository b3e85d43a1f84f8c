"""Stages in processes that can be killed: one process imports everything once and forks a run at a time.

A run has its own process group and its own log; it is killed as a whole and with SIGKILL. Only the imports are shared.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

STAGES = {
    "sft": "dialsum_trl.stages.sft:train_sft",
    "ppo": "dialsum_trl.stages.ppo:train_ppo",
    "predict": "dialsum_trl.stages.predict:predict",
}


class Forker:
    """The process that forks. `start` begins a run and `wait` ends it; one at a time."""

    def __enter__(self):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_runs"], cwd=ROOT, env=env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def start(self, stage: str, argv: list[str], log: Path) -> None:
        self.process.stdin.write(json.dumps([STAGES[stage], argv, str(log)]) + "\n")
        self.process.stdin.flush()
        self.pid = int(self.process.stdout.readline())

    def wait(self) -> int:
        """The exit code; minus the signal of a run that was killed."""
        return int(self.process.stdout.readline())

    def kill(self) -> int:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait()

    def alive(self) -> bool:
        """Whether the run still works: a zombie that was not yet waited for does not."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
        except FileNotFoundError:
            return False

    def until(self, seen, timeout: float = 120.0) -> bool:
        """Waits until `seen()`; False when the run ended before."""
        limit = time.monotonic() + timeout
        while not seen():
            if not self.alive():
                return False
            assert time.monotonic() < limit, "a run makes no progress"
            time.sleep(0.001)
        return True


def random_pause(draw: random.Random, longest: float) -> None:
    time.sleep(draw.uniform(0, longest))


def _serve() -> None:
    import importlib

    stages = {}
    for name in STAGES.values():
        module, function = name.split(":")
        stages[name] = getattr(importlib.import_module(module), function)
    import peft  # noqa: F401
    import trl
    from trl import GRPOTrainer, SFTTrainer  # noqa: F401 - lazily imported: this is where the seconds go

    assert trl.__version__

    for line in sys.stdin:
        name, argv, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(stages[name], argv, log)
        print(pid, flush=True)
        status = os.waitpid(pid, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(stage, argv: list[str], log: str) -> None:
    """The run itself, in the forked process; never returns."""
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    code = 1
    try:
        sys.stdout.reconfigure(line_buffering=True)
        stage({}, argv)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
