"""Weight files: whole safetensors or nothing. Only headers are read here, so it costs no time."""

from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import CONFIG, INDEX, PICKLE, WEIGHTS

TRUSTED = "save the adapter again where you trust it, with safe_serialization=True"


def tensor_shapes(path: str | Path, remedy: str = "get the file again") -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a safetensors file, from its header.

    Raises:
        InputError: the file cannot be read, is cut off, or is something else (a pickle, say).
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: does not exist, or is a folder; {remedy}")
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: is no whole safetensors file ({reason}); {remedy}") from None


def check_adapter_files(folder: str | Path, flag: str = "--adapter_path") -> dict:
    """Checks that a folder holds a LoRA adapter as peft saves it: config and whole weights that fit one another.

    Returns:
        The content of adapter_config.json.

    Raises:
        InputError: it does not; pickled weights are refused.
    """
    folder = Path(folder)
    remedy = f"give {flag} the folder that training wrote ({CONFIG}, {WEIGHTS})"
    config = read_json(folder / CONFIG, remedy)
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"{folder / CONFIG}: peft_type is {config.get('peft_type')!r}; only LoRA adapters are read, {remedy}"
        )
    rank = config.get("r")
    if not (folder / WEIGHTS).exists() and (folder / PICKLE).exists():
        raise InputError(
            f"{folder}: holds its weights as a pickle ({PICKLE}), which can run code; only safetensors are read: "
            f"{TRUSTED}"
        )
    shapes = tensor_shapes(folder / WEIGHTS, remedy)
    for name, shape in shapes.items():
        if "lora_A" in name and not config.get("rank_pattern") and shape[:1] != (rank,):
            raise InputError(f"{folder / WEIGHTS}: {name} has shape {shape} where {CONFIG} says r = {rank}; {remedy}")
    return config


def trained_tokens(config: dict) -> list[int]:
    """The ids whose embedding rows an adapter holds, mostly none; `config`: its adapter_config.json."""
    named = config.get("trainable_token_indices") or []
    return [i for ids in (named.values() if isinstance(named, dict) else [named]) for i in ids]


def refuse_reward(config: dict, adapter_path: str | Path, flag: str = "--adapter_path") -> None:
    """Raises InputError where an adapter's config is that of a reward model, which scores and writes nothing."""
    if config.get("task_type") == "SEQ_CLS":
        raise InputError(
            f"{flag} {adapter_path}: is a reward adapter; give it to --reward_adapter_path of recipes/ppo.py or grpo.py"
        )


def shards_of(index: Path, remedy: str) -> set[str]:
    """The weight files that an index names; all are in its folder.

    Raises:
        InputError: it is no index, or names a file elsewhere.
    """
    shards = read_json(index, remedy).get("weight_map")
    if not isinstance(shards, dict):
        raise InputError(f"{index}: has no weight_map from tensors to files; {remedy}")
    for name in set(shards.values()):
        if PurePosixPath(name).name != name:
            raise InputError(f"{index}: names {name[:80]}, which is not in its folder; {remedy}")
    return set(shards.values())


def check_model_files(folder: str | Path) -> None:
    """Checks a base model's folder for damaged files, without loading weights.

    Raises:
        InputError: config.json is no JSON object, a weight file is not whole, or the index names a file elsewhere.
    """
    folder, remedy = Path(folder), "get the model again"
    read_json(folder / "config.json", "give the folder of a model, or a Hub id")
    names = {path.name for path in folder.glob("model*.safetensors")}
    if (folder / INDEX).exists():
        names |= shards_of(folder / INDEX, remedy)
    for name in sorted(names):
        tensor_shapes(folder / name, remedy)
