"""What tests/test_distributed.py launches on several processes: jobs from a JSON file, what each process saw to JSON.

    accelerate launch --config_file ... tests/distributed_worker.py jobs.json

A job: `{"stage": "sft", "reward" ... or "predict", "argv": [...], "seen": path prefix}` and optionally
`"fails": {"rank", "step", "how"}`, which makes one process raise (or be killed) in that step.
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path


def plant_failure(rank: int, step: int, how: str) -> None:
    from dialsum_trl.training import CheckedTraining

    original = CheckedTraining._get_grad_norm

    def failing(trainer, model, grad_norm=None):
        if trainer.state.global_step + 1 == step and int(os.environ["RANK"]) == rank:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError(f"planted failure on rank {rank}")
        return original(trainer, model, grad_norm)

    CheckedTraining._get_grad_norm = failing


def run(job: dict) -> None:
    if "fails" in job:
        plant_failure(**job["fails"])
    stage = job["stage"]
    module = importlib.import_module(f"dialsum_trl.{stage}")
    vars(module)["predict" if stage == "predict" else f"train_{stage}"]({}, job["argv"])
    from accelerate import PartialState

    state = PartialState()
    seen = {"distributed_type": state.distributed_type.value, "num_processes": state.num_processes}
    Path(f"{job['seen']}.{state.process_index}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    for job in json.loads(Path(sys.argv[1]).read_text()):
        run(job)
