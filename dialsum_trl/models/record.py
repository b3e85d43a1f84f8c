"""What a folder of weights records of its training, for the stages that load it."""

from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.settings.prompt_texts import RECORDED
from dialsum_trl.models.file_names import RUN_FILE

LOADING = ("dtype", "quantization", "prompt_style")  # how weights are to be loaded
BASE = ("base_model", "base_revision")
_REMEDY = "give the folder that training wrote, or train again"


def read_record(folder: str | Path) -> dict:
    """The run record (`dialsum.json`) in a folder, empty where it has none."""
    path = Path(folder) / RUN_FILE
    return read_json(path, _REMEDY) if path.exists() else {}


def recorded_settings(folder: str | Path, keys: tuple[str, ...]) -> dict:
    """The values of `keys` in a folder's record, and the texts of its prompt; empty without a record.

    A checkpoint that says nothing of its run is named in a warning: what it is used with are the flags, or defaults.
    """
    folder, record = Path(folder), read_record(folder)
    if not record:
        if (folder / "trainer_state.json").exists():
            say(
                f"warning: {folder} does not say how it was trained: give --prompt_style, --dtype and --quantization "
                f"as they were"
            )
        return {}
    for key in keys:
        if not isinstance(record.get(key), str):
            raise InputError(f"{folder / RUN_FILE}: {key} is {record.get(key)!r} where a text was expected; {_REMEDY}")
    # records of before have no texts of prompts
    return {key: record[key] for key in (*keys, *RECORDED) if key in record}


def read_length_trend(path: str | Path) -> tuple[float, float]:
    """How much a reward model's score rises per token of a summary, and the mean length of its held-out summaries.

    Raises:
        InputError: the file is of before they were measured.
    """
    scale = read_json(path, "give --reward_adapter_path the folder that recipes/reward.py wrote")
    if not {"score_per_token", "tokens_mean"} <= scale.keys():
        raise InputError(f"{path}: says nothing of lengths, which --reward_length_control needs; train it again")
    return scale["score_per_token"], scale["tokens_mean"]


def read_scale(path: str | Path) -> tuple[float, float]:
    """Mean and standard deviation of a reward model's scores on its held-out pairs."""
    scale = read_json(path, "give --reward_adapter_path the folder that recipes/reward.py wrote")
    mean, deviation = scale.get("score_mean"), scale.get("score_std")
    if not isinstance(mean, int | float) or not isinstance(deviation, int | float) or not deviation > 0:
        raise InputError(f"{path}: score_mean and score_std must be numbers, the latter above 0; train it again")
    return mean, deviation
