"""The training runs of a report: found next to the summaries, and read."""

import os
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import RUN_FILE
from dialsum_trl.sharing.report.figures import Scored
from dialsum_trl.sharing.report.page import Run

STATE_FILE = "trainer_state.json"


def _split(entry: str) -> tuple[str, Path]:
    """The name, empty where none is given, and the path: both may hold a `=`, and what is there decides."""
    cuts = [-1, *(i for i, letter in enumerate(entry) if letter == "=")]
    places = [(entry[: max(cut, 0)], Path(entry[cut + 1 :]).expanduser()) for cut in cuts]
    return next((place for place in places if place[1].exists()), places[min(1, len(places) - 1)])


def named(entries: list[str] | None) -> dict[str, Path]:
    """`name=path` entries; a bare path is named after its last part, also one with a `=` in it."""
    found: dict[str, Path] = {}
    for entry in entries or []:
        name, path = _split(entry)
        name = name or path.name
        if not path.exists():
            raise InputError(f"{entry}: {path} does not exist; give name=folder or name=file")
        if name in found:
            raise InputError(f"{entry}: the name {name} is given twice; give every system its own")
        found[name] = path
    return found


def read_run(name: str, folder: Path) -> Run:
    """A training run from the folder that it left."""
    remedy = "give the output_dir of a training run"
    history = read_json(folder / STATE_FILE, remedy).get("log_history")
    if not isinstance(history, list):
        raise InputError(f"{folder / STATE_FILE}: has no log_history; {remedy}")
    record = read_json(folder / RUN_FILE, remedy) if (folder / RUN_FILE).exists() else {}
    return Run(name, history, record, str(folder) if (folder / "tokenizer_config.json").exists() else None)


def find_runs(scored: list[Scored], folders: dict[str, Path]) -> list[Run]:
    """The runs of the systems' adapters or models in the parent folder of their summaries, each once.

    Args:
        folders: name -> folder of a system.

    Raises:
        InputError: a run is damaged.
    """
    runs, seen = [], set()
    for one in scored:
        adapter = one.how.get("adapter")
        folder = folder_next_to(folders[one.name], adapter or one.how.get("model"))
        if folder is None and adapter:
            say(f"{one.name}: its adapter is not next to its summaries; --runs {one.name}=folder shows its curves")
        if folder is not None and folder not in seen and (folder / STATE_FILE).exists():
            runs.append(read_run(one.name, folder))
        seen.add(folder)
    return runs


def folder_next_to(system: Path, wanted: str | None) -> Path | None:
    """The folder that `wanted` (of a scores.json) names, if it is the parent folder of `system` or in that folder."""
    around, found = Path(os.path.abspath(system)).parent, Path(os.path.abspath(wanted or ""))
    return found if wanted and around in (found, found.parent) and found.is_dir() else None
