"""Thirty minutes of SFT on a real shape, killed at random moments and resumed: steps lost, peak memory, equal losses.

    python -m benchmarks.soak --minutes 30 --kills 5                                   # one GPU
    python -m benchmarks.soak --minutes 30 --kills 5 --keep .soak --seconds-per-call 520  # in parts: repeat until done
    python -m benchmarks.soak --minutes 4 --kills 2 --optim paged_adamw_8bit           # equal losses with 8-bit states
    python -m benchmarks.soak --smoke                                                  # CPU, a toy shape

The recipe's own file runs on random weights with a checkpoint every 50 steps. Its process group is killed by SIGKILL at
random moments, and when a call's time is up. Minutes count from the start of each process. Memory is what
the device has in use (on the CPU: the process), read twice per second; its spread is between the values of each stretch
after 20 steps and at its end. Lost steps are repeated, and their losses compared with the first ones.
"""

import argparse
import ast
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.record import write_result
from benchmarks.runner import ROOT, build_in_process, environment, recipe_command, write_rows
from dialsum_trl.training.checkpoints.choose import newest_whole

MOST_STEPS = 5_000  # more than the minutes allow; the plan looks at every pack of as many
START = 60  # seconds that a process may take before its first step: no call begins one with less
SETTLED = 20  # steps of a stretch after which its peak should not grow


def memory_gib(pid: int, smoke: bool) -> float:
    """GPU memory in use (the only user is this run), or the resident memory of a process, GiB."""
    if smoke:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    return float(subprocess.run(query, capture_output=True, text=True, check=True).stdout) / 1024


def command(options, keep: Path, begins: int) -> list[str]:
    """The recipe as a user types it; it resumes when there is a checkpoint."""
    settings = {
        "model_name_or_path": keep / "model", "train_file": keep / "rows.csv", "output_dir": keep / "adapter",
        "max_steps": MOST_STEPS, "save_strategy": "steps", "save_steps": options.save_steps, "logging_steps": 1,
        "disable_tqdm": "true",
        **({"optim": options.optim} if options.optim else {}),
        **({"resume_from_checkpoint": "true"} if begins else {}),
        **({"use_cpu": "true", "dtype": "float32", "effective_batch_size": 8} if options.smoke else
           {"memory_gib": options.memory_gib}),
    }  # fmt: skip
    return recipe_command("sft_llama3b", settings)


def stretch(options, keep: Path, number: int, seconds: float, latest: float) -> dict:
    """Runs until `seconds` are over (but into a new step) or the clock says `latest`, then kills the group."""
    found, skipped = newest_whole(keep / "adapter")
    begins = int(found.name.split("-")[1]) if found else 0
    least = options.save_steps + 2 if options.smoke else 1  # a start is most of a toy's time
    started, losses, peak, settled = time.monotonic(), [], 0.0, None
    log = keep / f"stretch-{number}.log"
    run = subprocess.Popen(
        command(options, keep, begins), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env=environment(), start_new_session=True, errors="replace",
    )  # fmt: skip

    def read() -> None:
        with log.open("w") as file:
            for line in run.stdout:
                file.write(line)
                file.flush()
                if line.startswith("{'loss'"):
                    losses.append((float(ast.literal_eval(line)["loss"]), time.monotonic() - started))

    reader = threading.Thread(target=read)
    reader.start()
    while time.monotonic() < latest and (time.monotonic() - started < seconds or len(losses) < least):
        if run.poll() is not None:
            reader.join()
            raise SystemExit(f"the run ended by itself ({run.returncode}):\n{log.read_text()[-3000:]}")
        peak = max(peak, memory_gib(run.pid, options.smoke))
        if settled is None and len(losses) >= SETTLED:
            settled = peak
        time.sleep(0.5)
    due = time.monotonic() - started >= seconds and len(losses) >= least
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    reader.join()
    kept, _ = newest_whole(keep / "adapter")
    kept = int(kept.name.split("-")[1]) if kept else 0
    reached = begins + len(losses)
    return {
        "due": due, "from_step": begins, "to_step": reached, "last_checkpoint": kept, "steps_lost": reached - kept,
        "skipped_checkpoints": skipped, "seconds": round(time.monotonic() - started, 1),
        "seconds_to_first_step": round(losses[0][1], 1) if losses else None, "peak_memory_gib": round(peak, 3),
        "peak_memory_gib_of_first_steps": settled and round(settled, 3),
        "losses": [loss for loss, _ in losses],
    }  # fmt: skip


def summary(options, stretches: list[dict]) -> dict:
    """What the bar asks for, from all stretches."""
    first, differences = {}, []
    for each in stretches:
        for step, loss in enumerate(each["losses"], start=each["from_step"] + 1):
            differences += [abs(first[step] - loss)] if step in first else []
            first.setdefault(step, loss)
    long = [each for each in stretches if each["peak_memory_gib_of_first_steps"]]
    peaks = [each["peak_memory_gib"] for each in long]
    both = [*peaks, *(each["peak_memory_gib_of_first_steps"] for each in long)]
    shown = [{name: value for name, value in each.items() if name != "losses"} for each in stretches]
    return {
        "variant": f"sft_llama3b, {options.minutes:g} minutes, {options.kills} kills",
        "optim": options.optim or "the recipe's",
        "shape": "smoke" if options.smoke else "llama3b", "save_steps": options.save_steps,
        "kills": sum(each["ended_by"] == "kill" for each in stretches), "steps": max(first, default=0),
        "most_steps_lost": max(each["steps_lost"] for each in stretches),
        "steps_made_twice": len(differences), "largest_loss_difference": max(differences, default=0.0),
        "peak_memory_gib": peaks,
        "memory_spread_percent": round(100 * (max(both) - min(both)) / max(both), 2) if both else None,
        "first_loss": first.get(1), "last_loss": first[max(first)] if first else None, "stretches": shown,
    }  # fmt: skip


def soak(options, keep: Path) -> dict | None:
    """Goes on until the minutes are over or this call's time is; None in the latter case: call again."""
    call_ends = time.monotonic() + (options.seconds_per_call or 10**9)
    keep.mkdir(parents=True, exist_ok=True)
    state_file = keep / "state.json"
    total = options.minutes * 60
    if state_file.exists():
        state = json.loads(state_file.read_text())
    else:
        build_in_process("smoke" if options.smoke else "llama3b", keep / "model")
        write_rows(keep / "rows.csv", keep / "model", 256 if options.smoke else 6_400)
        draw = random.Random(options.seed)
        spans = [(number + draw.uniform(0.3, 0.9)) / (options.kills + 1) for number in range(options.kills)]
        state = {"spent": 0.0, "kills": [round(total * span, 1) for span in spans], "stretches": []}
    while state["spent"] < total or state["kills"]:
        until = state["kills"][0] if state["kills"] else total
        each = stretch(options, keep, len(state["stretches"]), max(1.0, until - state["spent"]), call_ends)
        state["spent"] += each["seconds"]
        each["ended_by"] = ("kill" if state["kills"] else "end") if each.pop("due") else "end of the call"
        if each["ended_by"] == "kill":
            state["kills"] = state["kills"][1:]
        state["stretches"].append(each)
        state_file.write_text(json.dumps(state) + "\n")
        print({name: value for name, value in each.items() if name != "losses"}, flush=True)
        if time.monotonic() + START > call_ends and (state["spent"] < total or state["kills"]):
            print(f"{state['spent']:.0f} of {total:.0f} s; call again with --keep {keep}", flush=True)
            return None
    return summary(options, state["stretches"])


def main(argv: list[str] | None = None) -> dict | None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--save-steps", type=int, default=50)
    parser.add_argument("--memory-gib", type=float, default=24)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--optim", help="another optimizer than the recipe's, such as paged_adamw_8bit")
    parser.add_argument("--keep", type=Path, help="folder in which a further call continues")
    parser.add_argument("--seconds-per-call", type=float, help="end this call then; the next one continues")
    parser.add_argument("--smoke", action="store_true", help="a toy on the CPU; writes no result file")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(options, options.keep or Path(folder))
    if figures:
        print(json.dumps(figures, indent=1))
        if not options.smoke:
            write_result(f"soak_{options.optim}" if options.optim else "soak", [figures])
    return figures


if __name__ == "__main__":
    main()
