"""Weight files of strangers: whole safetensors or nothing. Only headers are read here, so it costs no time."""

import warnings
from pathlib import Path, PurePosixPath

from dialsum_trl.errors import InputError
from dialsum_trl.json_file import read_json

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
INDEX = "model.safetensors.index.json"


def tensor_shapes(path: str | Path, remedy: str = "get the file again") -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a safetensors file, from its header.

    Raises:
        InputError: the file cannot be read, is cut off, or is something else (a pickle, say).
    """
    from safetensors import SafetensorError, safe_open

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
            f"save the adapter again where you trust it, with safe_serialization=True"
        )
    shapes = tensor_shapes(folder / WEIGHTS, remedy)
    for name, shape in shapes.items():
        if "lora_A" in name and not config.get("rank_pattern") and shape[:1] != (rank,):
            raise InputError(f"{folder / WEIGHTS}: {name} has shape {shape} where {CONFIG} says r = {rank}; {remedy}")
    return config


def check_adapter_values(folder: str | Path, flag: str = "--adapter_path") -> None:
    """Raises InputError when a tensor of an adapter is empty or not finite. Reads the whole file."""
    import torch
    from safetensors import safe_open

    path = Path(folder) / WEIGHTS
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(name)
            if tensor.numel() == 0 or (tensor.is_floating_point() and not torch.isfinite(tensor).all()):
                raise InputError(f"{path}: {name} is empty or not finite; give {flag} an adapter that was saved whole")


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


def check_model_files(folder: str | Path) -> None:
    """Checks the files of a base model's folder that can be told to be damaged without loading them.

    Raises:
        InputError: config.json is no JSON object, a weight file is not whole, or the index names a file elsewhere.
    """
    folder, remedy = Path(folder), "get the model again"
    read_json(folder / "config.json", "give the folder of a model, or a Hub id")
    names = ["model.safetensors"] if (folder / "model.safetensors").is_symlink() else []
    names += [path.name for path in sorted(folder.glob("model*.safetensors")) if path.name not in names]
    if (folder / INDEX).exists():
        names += sorted(beside(folder / INDEX, remedy) - set(names))
    for name in names:
        tensor_shapes(folder / name, remedy)


def load_adapter(base, adapter_path: str | Path, *, trainable: bool = False, flag: str = "--adapter_path"):
    """The base with a saved LoRA adapter on it, as a `PeftModel`.

    Raises:
        InputError: the adapter is of another base (tensors too many, too few or of other shapes), or damaged.
    """
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError

    base_name = base.config.name_or_path
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # an error below
            model = PeftModel.from_pretrained(base, adapter_path, is_trainable=trainable, use_safetensors=True)
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{flag} {adapter_path}: does not fit {base_name}: {reason} Give the folder that training wrote "
            f"({CONFIG}, {WEIGHTS}) and the base it was trained on"
        ) from error
    if (Path(adapter_path) / WEIGHTS).exists():
        saved = set(tensor_shapes(Path(adapter_path) / WEIGHTS))
        if differ := sorted(saved ^ set(get_peft_model_state_dict(model))):
            where = "the adapter" if differ[0] in saved else "the model"
            raise InputError(
                f"{flag} {adapter_path}: does not fit {base_name}: {len(differ)} tensors are on one side only, such as "
                f"{differ[0]} ({where}); give the base it was trained on"
            )
    return model
