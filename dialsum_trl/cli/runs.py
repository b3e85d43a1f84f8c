"""`dialsum runs`: the training runs below a folder: settings that differ, scores, time and memory."""

import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from dialsum_trl.cli.printing import open_console, print_line
from dialsum_trl.core.console import printable
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import json_text
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import RUN_FILE
from dialsum_trl.models.record import read_record

OF_THE_RECORD = ("method", "base_model", "dtype", "quantization", "prompt_style", "instructions")
REMEDY = "give the folder that training wrote, or train again"


def list_runs(folder: Path, as_json: bool = False) -> list[dict[str, Any]]:
    """Prints and returns every run below `folder`, the best by its own dev rows first.

    Returns:
        Per run `folder`, `settings` (those that differ among the runs), `scores` (`on`, `mean`, `interval95`, `n`),
        `loss` of the evaluation, `seconds` and `gib` of training; None where a run does not say.
    """
    folders = sorted(path.parent for path in folder.rglob(RUN_FILE) if not path.parent.name.startswith("checkpoint-"))
    if not folders:
        raise InputError(
            f"{folder}: no training run is in it ({RUN_FILE}); give the folder that holds their output_dirs"
        )
    runs = [read_run(each) for each in folders]
    names = {name for run in runs for name in run["settings"]}
    differing = {name for name in names if len({json.dumps(run["settings"].get(name)) for run in runs}) > 1}
    for run in runs:
        run["settings"] = {name: value for name, value in run["settings"].items() if name in differing}
    runs.sort(key=lambda run: -max((score["mean"] for score in run["scores"]), default=-1))
    if as_json:
        print(json_text({"runs": runs}), end="")
    else:
        print_runs(runs, folder)
    return runs


def read_run(folder: Path) -> dict[str, Any]:
    """One run: its record, its log, and the `scores.json` of summaries in its folder."""
    record = read_record(folder)
    state = folder / "trainer_state.json"
    history = read_json(state, REMEDY).get("log_history", []) if state.exists() else []
    settings = {name: record[name] for name in OF_THE_RECORD if name in record}
    settings |= {**record.get("settings", {}), "rows": record.get("data", {}).get("rows")}
    evaluation = record.get("evaluation") or {}
    measured = [(evaluation.get("file", "dev rows"), evaluation.get("rouge"))]
    for path in sorted(folder.glob("*/scores.json")):
        measured.append((path.parent.name, read_json(path, "predict again").get("rouge")))
    return {
        "folder": str(folder),
        "settings": settings,
        "scores": [
            {"on": on, "mean": rouge["mean"], "interval95": rouge["interval95_of_mean"], "n": rouge["n"]}
            for on, rouge in measured
            if rouge
        ],
        "loss": record.get("metrics", {}).get("eval_loss"),
        "seconds": next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), None),
        "gib": record.get("gpu_gib"),
    }


def print_runs(runs: list[dict[str, Any]], folder: Path) -> None:
    """A table per run: one line of figures, one of the settings that set it apart."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("run", "summaries of", "ROUGE mean", "95 %", "rows", "dev loss", "minutes", "GPU GiB"):
        table.add_column(name, justify="left" if name in ("run", "summaries of") else "right")
    for run in runs:
        name = str(Path(run["folder"]).relative_to(folder)) if run["folder"] != str(folder) else folder.name
        figures = [
            "" if run["loss"] is None else f"{run['loss']:.4f}",
            "" if run["seconds"] is None else f"{run['seconds'] / 60:.1f}",
            "" if run["gib"] is None else f"{run['gib']:.1f}",
        ]
        for index, score in enumerate(run["scores"] or [None]):
            scored = ["", "", "", ""]
            if score:
                span = "{:.1f}-{:.1f}".format(*score["interval95"]) if score["interval95"] else ""
                scored = [printable(score["on"]), f"{score['mean']:.2f}", span, f"{score['n']:,}"]
            table.add_row(*([printable(name), *scored, *figures] if not index else ["", *scored]))
    console = open_console()
    console.print(table)
    for run in runs:
        settings = ", ".join(f"{name} {value}" for name, value in run["settings"].items())
        print_line(console, f"{Path(run['folder']).name}: {settings or 'no setting differs'}")
    several = " ".join(f"{Path(run['folder']).name}={run['folder']}" for run in runs)
    console.print(
        Text(printable(f"curves and settings on one page: python recipes/report.py --runs {several} ..."), "dim")
    )
