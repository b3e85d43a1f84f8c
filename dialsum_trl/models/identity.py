"""Hashes that tell bases, adapters and reward adapters apart."""

import hashlib
import json
from pathlib import Path

from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import CONFIG, SCALE_FILE
from dialsum_trl.models.provenance import base_origin
from dialsum_trl.models.record import read_scale

SAMPLES, SAMPLE_BYTES = 16, 2**16  # of a weight file, between its first and its last MiB
NO_FUNCTION = {  # settings of an adapter that change nothing it computes, and what peft writes with them unused
    *("base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version"),
    *("megatron_core", "qalora_group_size"),
}


def digest(content: object, digits: int = 12) -> str:
    """A short hash of anything JSON can write."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]


def adapter_identity(folder: str | None) -> str | None:
    """Hashes of an adapter's weights and settings, so that its folder may move; a Hub id is returned as it is."""
    if not folder or not Path(folder).is_dir():
        return folder and str(folder)
    weights = hashlib.sha256()
    for path in sorted(Path(folder).glob("adapter_model.*")):
        weights.update(path.read_bytes())
    config = read_json(Path(folder) / CONFIG, "give the folder of an adapter that training wrote")
    settings = {
        name: sorted(value, key=str) if isinstance(value, list) else value  # peft writes sets in any order
        for name, value in config.items()
        if value and name not in NO_FUNCTION  # what is off may be left out
    }
    return f"weights {weights.hexdigest()[:12]}, settings {digest(settings)}"


def reward_identity(folder: str | None) -> str | None:
    """`adapter_identity` of a reward adapter, and a hash of the scale of its scores."""
    if not folder:
        return None
    return f"{adapter_identity(folder)}, scale {digest(read_scale(Path(folder) / SCALE_FILE))}"


def base_identity(name: str, revision: str) -> str:
    """What tells one base from another without reading gigabytes: its commit, or config and samples of its weights."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return f"{name}@{base_origin(name, revision).commit or revision}"
    weights, between = hashlib.sha256((folder / "config.json").read_bytes()), hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            weights.update(file.read(2**20))
            file.seek(max(0, size - 2**20))
            weights.update(file.read())
            for number in range(1, SAMPLES + 1):
                file.seek(size * number // (SAMPLES + 1))
                between.update(file.read(SAMPLE_BYTES))
    return f"weights {weights.hexdigest()[:12]}, between {between.hexdigest()[:12]}"
