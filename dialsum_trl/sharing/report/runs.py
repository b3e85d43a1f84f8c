"""Runs found beside summaries, and read."""

import os
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import RUN_FILE
from dialsum_trl.sharing.report.page import Run

STATE_FILE = "trainer_state.json"
LIMIT = "max length, tokens"  # among a record's settings


def _split(entry: str) -> tuple[str, Path]:
    """The name, empty where none is given, and the path: both may hold a `=`, and what is there decides."""
    cuts = [-1, *(i for i, letter in enumerate(entry) if letter == "=")]
    places = [(entry[: max(cut, 0)], Path(entry[cut + 1 :]).expanduser()) for cut in cuts]
    return next((place for place in places if place[1].exists()), places[min(1, len(places) - 1)])


def named(entries: list[str] | None) -> list[tuple[str, Path]]:
    """`name=path` entries; a bare path is named after its last part, also one with a `=` in it.

    Raises:
        InputError: a name twice, or a path that does not exist.
    """
    found: list[tuple[str, Path]] = []
    for entry in entries or []:
        name, path = _split(entry)
        name = name or path.name
        if not path.exists():
            raise InputError(f"{entry}: {path} does not exist; give name=folder or name=file")
        if name in [other for other, _ in found]:
            raise InputError(f"{entry}: the name {name} stands twice; give every system its own")
        found.append((name, path))
    return found


def read_run(name: str, folder: Path):
    """A `page.Run` from the folder that training left.

    Raises:
        InputError: it holds no log, or a damaged one.
    """
    if not (folder / STATE_FILE).exists():
        raise InputError(f"{folder}: holds no {STATE_FILE}; give the output_dir of a training run")
    remedy = "leave the run out of --runs, or give the folder that training wrote"
    history = read_json(folder / STATE_FILE, remedy).get("log_history")
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise InputError(f"{folder / STATE_FILE}: log_history is no list of log entries; {remedy}")
    if not all(isinstance(entry.get("step"), int) for entry in history):
        raise InputError(f"{folder / STATE_FILE}: log_history has an entry without its step; {remedy}")
    record = read_json(folder / RUN_FILE, remedy) if (folder / RUN_FILE).exists() else {}
    settings = record.get("settings", {})
    if not isinstance(settings, dict):
        raise InputError(f"{folder / RUN_FILE}: its settings are no object; {remedy}")
    if type(settings.get(LIMIT)) not in (int, type(None)):
        raise InputError(f"{folder / RUN_FILE}: '{LIMIT}' is no whole number; {remedy}")
    if not isinstance(record.get("base_model", ""), str):
        raise InputError(f"{folder / RUN_FILE}: its base_model is no text; {remedy}")
    return Run(name, history, record, str(folder) if (folder / "tokenizer_config.json").exists() else None)


def find_runs(scored, folders: dict[str, Path]) -> list:
    """The runs of the systems' adapters or models that lie beside their summaries, each once.

    Args:
        folders: where each system lies, by its name.

    Raises:
        InputError: an adapter or a model that is no text, or a damaged run.
    """
    runs, seen = [], set()
    for one in scored:
        made_by = [one.how.get(key) or "" for key in ("adapter", "model")]
        if not all(isinstance(text, str) for text in made_by):
            raise InputError(f"{one.name}: its scores.json names an adapter or model that is no text; predict again")
        folder = beside(folders[one.name], made_by[0] or made_by[1])
        if folder is None and made_by[0]:
            say(f"{one.name}: its adapter does not lie beside its summaries; --runs {one.name}=folder shows its curves")
        if folder is not None and folder not in seen and (folder / STATE_FILE).exists():
            runs.append(read_run(one.name, folder))
        seen.add(folder)
    return runs


def beside(system: Path, wanted: str) -> Path | None:
    """The folder that `wanted` names, where it is the one around `system` or lies in that, and is no link.

    `wanted` comes from a file: it is compared with the names that are there, and never opened as a path.
    """
    if not wanted:
        return None
    around, name = Path(os.path.abspath(system)).parent, os.path.abspath(wanted)
    found = next((each for each in (around, *around.iterdir()) if str(each) == name and each.is_dir()), None)
    if found is None or (found.is_symlink() and found != around):
        return None
    return None if any((found / file).is_symlink() for file in (STATE_FILE, RUN_FILE)) else found
