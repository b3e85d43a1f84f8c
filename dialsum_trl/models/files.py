"""Weight files of strangers: whole safetensors or nothing. Only headers are read here, so it costs no time."""

from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import CONFIG, INDEX, PICKLE, WEIGHTS

ELSEWHERE = "transformers_weights"  # a key of config.json: weights, or their index, by any name
TRUSTED = "save the adapter again where you trust it, with safe_serialization=True"


def tensor_shapes(path: str | Path, remedy: str = "get the file again") -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a safetensors file, from its header.

    Raises:
        InputError: the file cannot be read, is cut off, or is something else (a pickle, say).
    """
    path = Path(path)
    if not path.is_file():
        what = "is a link to nothing" if path.is_symlink() else "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: {what}; {remedy}")
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
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise InputError(f"{folder / CONFIG}: the rank r is {rank!r}, not a whole number above 0; {remedy}")
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


def trained_tokens(config: dict, folder: str | Path) -> list[int]:
    """The tokens whose embedding rows an adapter holds, mostly none.

    Args:
        config: the content of its adapter_config.json.

    Raises:
        InputError: they are no ids.
    """
    named = config.get("trainable_token_indices") or []
    rows = named.values() if isinstance(named, dict) else [named]
    if not all(isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids) for ids in rows):
        raise InputError(f"{Path(folder) / CONFIG}: trainable_token_indices are no token ids; train the adapter again")
    return [i for ids in rows for i in ids]


def refuse_reward(config: dict, adapter_path: str | Path, flag: str = "--adapter_path") -> None:
    """Raises InputError where an adapter's config is that of a reward model, which scores and writes nothing."""
    if config.get("task_type") == "SEQ_CLS":
        raise InputError(
            f"{flag} {adapter_path}: is a reward adapter; give it to --reward_adapter_path of recipes/ppo.py or grpo.py"
        )


def beside(index: Path, remedy: str) -> set[str]:
    """The files that an index of weights names.

    Raises:
        InputError: it is no index, or names a file that is not in its folder.
    """
    shards = read_json(index, remedy).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise InputError(f"{index}: has no weight_map from tensors to files; {remedy}")
    for name in set(shards.values()):
        if PurePosixPath(name).name != name:
            raise InputError(f"{index}: names {name[:80]}, which is not beside it; {remedy}")
    return set(shards.values())


def check_config(path: Path) -> None:
    """Raises InputError when a config.json is no JSON object or names the weights itself, at any depth."""
    unread = [read_json(path, "give the folder of a model, or a Hub id")]
    while unread:  # a config may hold the config of its text model
        part = unread.pop()
        if isinstance(part, dict) and ELSEWHERE in part:
            raise InputError(
                f"{path}: names its weights by {ELSEWHERE}, which is not followed; take the key out, "
                f"and name the weights model.safetensors"
            )
        unread += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


def check_model_files(folder: str | Path) -> None:
    """Checks the files of a base model's folder that can be told to be damaged without loading them.

    Raises:
        InputError: config.json is no JSON object or names the weights itself, a weight file is not whole, or an index
            names a file elsewhere.
    """
    folder, remedy = Path(folder), "get the model again"
    check_config(folder / "config.json")
    names = ["model.safetensors"] if (folder / "model.safetensors").is_symlink() else []
    names += [path.name for path in sorted(folder.glob("model*.safetensors")) if path.name not in names]
    for index in sorted(folder.glob("*.index.json")):
        shards = beside(index, remedy)
        names += sorted(shards - set(names)) if index.name == INDEX else []
    for name in names:
        tensor_shapes(folder / name, remedy)
