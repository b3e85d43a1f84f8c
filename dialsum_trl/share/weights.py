"""Weight files of strangers: whole safetensors or nothing. Only headers are read here, so it costs no time."""

import difflib
import warnings
from pathlib import Path, PurePosixPath

from dialsum_trl.errors import InputError
from dialsum_trl.json_file import read_json

RUN_FILE = "dialsum.json"  # what a run used, beside the adapter; its layout is part of the file formats we keep
CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
INDEX = "model.safetensors.index.json"
ELSEWHERE = "transformers_weights"  # a key of config.json: weights, or their index, by any name
TRUSTED = "save the adapter again where you trust it, with safe_serialization=True"


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


def check_hub_model(name: str, revision: str) -> None:
    """The checks of `check_model_files` that need no weights, for a model of the Hub (or its cache), before they come.

    A Hub that cannot be reached or has no such model is left to the loading behind it.

    Raises:
        InputError: config.json names the weights itself, or the index names a file elsewhere.
    """
    if config := hub_file(name, "config.json", revision):
        check_config(config)
        if index := hub_file(name, INDEX, revision):
            beside(index, "take another model")


def hub_file(name: str, file: str, revision: str) -> Path | None:
    """A file of a Hub repository in the Hub's cache, downloaded if it is not there; None where the Hub gives none.

    Raises:
        OSError: there is no such repository or revision.
    """
    from transformers.utils import cached_file

    quiet = dict.fromkeys(("gated_repo", "missing_entries", "connection_errors"), False)
    quiet = {f"_raise_exceptions_for_{what}": value for what, value in quiet.items()}
    path = cached_file(name, file, revision=revision, **quiet)
    return path and Path(path)


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


def adapter_folder(adapter_path: str | Path, flag: str = "--adapter_path") -> Path:
    """The folder of an adapter; of a Hub id the one in the Hub's cache, where what is read of it is downloaded.

    Raises:
        InputError: neither the Hub nor its cache gives it, or it has no safetensors there.
    """
    if Path(adapter_path).is_dir():
        return Path(adapter_path)
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(snapshot_download(str(adapter_path), allow_patterns=[CONFIG, WEIGHTS, RUN_FILE]))
    except (OSError, HFValidationError, httpx2.HTTPError) as error:
        raise InputError(
            f"{flag} {adapter_path}: no such folder{similar(Path(adapter_path))}, and the Hub does not give it "
            f"({_hub_reason(error)}): give the folder that training wrote, or the Hub id of an adapter"
        ) from None
    if (folder / CONFIG).exists() and not (folder / WEIGHTS).exists():
        raise InputError(
            f"{flag} {adapter_path}: has no {WEIGHTS} on the Hub; a pickle ({PICKLE}) can run code, only safetensors "
            f"are read: {TRUSTED}"
        )
    return folder


def similar(missing: Path) -> str:
    """A hint at an adapter of a similar name, or at any, beside a folder that is not there; may be empty."""
    parent = missing.parent
    names = [path.name for path in sorted(parent.glob("*")) if (path / CONFIG).is_file()] if parent.is_dir() else []
    close = difflib.get_close_matches(missing.name, names, n=1) or names[:1]
    return f" (there is {parent / close[0]})" if close else ""


def _hub_reason(error: Exception) -> str:
    """Why the Hub did not give a repository, in a few words."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    reasons = {  # the first that fits: a gated repository counts as not found too
        GatedRepoError: "it is gated; HF_TOKEN must have been granted access",
        RepositoryNotFoundError: "no such repository, or a private one without HF_TOKEN",
        LocalEntryNotFoundError: "it is not in the cache, and the Hub cannot be reached or HF_HUB_OFFLINE is set",
        HFValidationError: "this is no owner/name",
    }
    return next((words for kind, words in reasons.items() if isinstance(error, kind)), type(error).__name__)


def load_adapter(base, adapter_path: str | Path, *, trainable: bool = False, flag: str = "--adapter_path"):
    """The base with a saved LoRA adapter on it, as a `PeftModel`.

    Raises:
        InputError: the adapter is of another base (tensors too many, too few or of other shapes), damaged, pickled,
            or not to be had.
    """
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError

    base_name, folder = base.config.name_or_path, adapter_folder(adapter_path, flag)
    config = check_adapter_files(folder, flag)
    refuse_reward(config, adapter_path, flag)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # an error below
            model = PeftModel.from_pretrained(base, folder, is_trainable=trainable, use_safetensors=True)
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{flag} {adapter_path}: does not fit {base_name}: {reason} Give the folder that training wrote "
            f"({CONFIG}, {WEIGHTS}) and the base it was trained on"
        ) from error
    saved = set(tensor_shapes(folder / WEIGHTS))
    # with added tokens peft saves the whole tables too, where it finds the base and sees that they have grown
    tables = ("auto", True) if trained_tokens(config, folder) else ("auto",)
    differences = (saved ^ set(get_peft_model_state_dict(model, save_embedding_layers=kind)) for kind in tables)
    if differ := sorted(min(differences, key=len)):
        where = "the adapter" if differ[0] in saved else "the model"
        raise InputError(
            f"{flag} {adapter_path}: does not fit {base_name}: {len(differ)} tensors are on one side only, such as "
            f"{differ[0]} ({where}); give the base it was trained on"
        )
    return model
