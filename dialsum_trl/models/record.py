"""What a folder of weights records of its training, for the stages that load it."""

import math
from dataclasses import fields
from pathlib import Path
from typing import get_args

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments
from dialsum_trl.models.file_names import CONFIG, RUN_FILE, SETTINGS_FILE

LOADING = ("dtype", "quantization", "prompt_style")  # how weights are to be loaded
BASE = ("base_model", "base_revision")
_REMEDY = "give the folder that training wrote, or train again"


def read_record(folder: str | Path) -> dict:
    """The run record in a folder, empty where it has none.

    Of a checkpoint of earlier versions, which has `run.json` alone, what that and `adapter_config.json` tell of it:
    `LOADING` and, of an adapter, `BASE`.
    """
    folder = Path(folder)
    if (folder / RUN_FILE).exists():
        return read_json(folder / RUN_FILE, _REMEDY)
    if not (folder / SETTINGS_FILE).exists():
        return {}
    flags = read_json(folder / SETTINGS_FILE, _REMEDY).get("flags")
    if not isinstance(flags, dict):  # another tool's file
        return {}
    record = {key: flags[key] for key in LOADING if key in flags}
    if (folder / CONFIG).exists():
        config = read_json(folder / CONFIG, _REMEDY)
        if isinstance(base := config.get("base_model_name_or_path"), str):
            place = Path(base).expanduser()
            record["base_model"] = str(place.absolute()) if place.is_dir() else base
            record["base_revision"] = config.get("revision") or "main"
    return record


def recorded_settings(folder: str | Path, keys: tuple[str, ...]) -> dict:
    """Those values of a folder's record, each a text, and one of those that its flag takes; empty without a record.

    A checkpoint that says nothing of its run is named in a warning: what it is used with are the flags, or defaults.

    Raises:
        InputError: a value is missing in `dialsum.json`, is no text, or is none that its flag takes.
    """
    folder, record = Path(folder), read_record(folder)
    if not record:
        if (folder / "trainer_state.json").exists():
            say(
                f"warning: {folder} does not say how it was trained: give --prompt_style, --dtype and --quantization "
                f"as they were"
            )
        return {}
    whole = (folder / RUN_FILE).exists()
    path = folder / (RUN_FILE if whole else SETTINGS_FILE)
    choices = {item.name: get_args(item.type) for item in fields(ModelArguments)}
    choices["prompt_style"] = get_args({item.name: item.type for item in fields(PromptArguments)}["prompt_style"])
    keys = keys if whole else [key for key in keys if key in record]  # encoder-decoders have no prompt style
    for key in keys:
        value, allowed = record.get(key), choices.get(key)
        if not isinstance(value, str) or not value or (allowed and value not in allowed):
            wanted = f"one of {', '.join(allowed)}" if allowed else "a text"
            raise InputError(f"{path}: {key} is {value!r} where {wanted} was expected; {_REMEDY}")
    return {key: record[key] for key in keys}


def read_scale(path: Path) -> tuple[float, float]:
    """Mean and deviation of a reward model's scores on its held-out pairs. Raises InputError where they are damaged."""
    scale = read_json(path, "give --reward_adapter_path the folder that recipes/reward.py wrote")
    mean, deviation = scale.get("score_mean"), scale.get("score_std")
    if (
        not all(isinstance(value, int | float) and math.isfinite(value) for value in (mean, deviation))
        or deviation <= 0
    ):
        raise InputError(f"{path}: score_mean and score_std must be numbers, the latter above 0; train it again")
    return mean, deviation
