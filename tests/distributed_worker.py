"""What test_distributed.py launches on several processes: jobs from a JSON file, what each process saw to JSON.

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

from dialsum_trl.core.processes import end_process_group


def plant_failure(rank: int, step: int, how: str) -> None:
    from dialsum_trl.training.number_check import NumberCheck

    original = NumberCheck.step

    def failing(check, norm):
        if check.trainer.state.global_step + 1 == step and int(os.environ["RANK"]) == rank:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError(f"planted failure on rank {rank}")
        original(check, norm)

    NumberCheck.step = failing


def allow_fsdp_on_cpus() -> None:
    """accelerate runs plain data parallel there, and the recipes refuse it for that: both are told otherwise."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    from dialsum_trl.core.settings import resolve

    made, fit = AcceleratorState.__init__, resolve.fit_topology

    def make(state, *args, fsdp_plugin=None, **kwargs):
        made(state, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and state.distributed_type != DistributedType.FSDP:
            if state._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(state._mixed_precision)
            state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = state.distributed_type  # as it does itself on GPUs

    def fit_as_on_gpus(stage, values, given):
        cpu, values["use_cpu"] = values["use_cpu"], False
        fit(stage, values, given)
        values["use_cpu"] = cpu

    AcceleratorState.__init__, resolve.fit_topology = make, fit_as_on_gpus


def rehearse_as_on_gpus() -> list[int]:
    """Packs are rehearsed on the CPU too; returns the list that the step of each rehearsal goes to."""
    from dialsum_trl.training.packing import rehearsal

    steps, original = [], rehearsal.rehearse

    def noted(trainer, rows):
        steps.append(trainer.state.global_step)
        original(trainer, rows)

    rehearsal.ScheduleCallback.rehearses_on, rehearsal.rehearse = ("cpu",), noted
    return steps


def run(job: dict, rehearsals: list[int]) -> None:
    if "fails" in job:
        plant_failure(**job["fails"])
    rehearsals.clear()
    stage = job["stage"]
    module = importlib.import_module(f"dialsum_trl.stages.{stage}")
    vars(module)["predict" if stage == "predict" else f"train_{stage}"]({}, job["argv"])
    from accelerate import PartialState

    state = PartialState()
    seen = {
        "distributed_type": state.distributed_type.value,
        "num_processes": state.num_processes,
        "rehearsals": rehearsals,
    }
    Path(f"{job['seen']}.{state.process_index}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        allow_fsdp_on_cpus()
    rehearsed_at = rehearse_as_on_gpus()
    for each in json.loads(Path(sys.argv[1]).read_text()):
        run(each, rehearsed_at)
    end_process_group()  # as a recipe does
