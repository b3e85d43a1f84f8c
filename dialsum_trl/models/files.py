"""Weight files: whole safetensors or nothing. Only headers are read here, so it costs no time."""

from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import CONFIG, INDEX, PICKLE, WEIGHTS

TRUSTED = "save the adapter again where you trust it, with safe_serialization=True"
UNREAD = {  # fields of adapter_config.json -> kinds of LoRA that no plain weights can express, or that change the model
    "alora_invocation_tokens": "activated LoRA",
    "arrow_config": "Arrow, a router of adapters",
    "layer_replication": "LoRA on replicated layers",
    "lora_bias": "LoRA with biases of its own (lora_bias)",
    "use_qalora": "QA-LoRA",
}
TABLES = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")  # peft may save them
LORA_TENSORS = (".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector.weight", ".lora_magnitude_vector")
CHANGE_THE_BASE = ("pissa", "olora")  # they take the adapter's first product out of the base's weights
# the same, by gradients, inputs or drawn numbers that no file holds: with peft too it computes something else
OF_A_LOST_BASE = {"lora_ga": "LoRA-GA", "corda": "CorDA", "pissa_niter": "PiSSA by a randomized decomposition"}


def tensor_shapes(path: str | Path, remedy: str = "get the file again") -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a safetensors file, from its header."""
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
    """
    folder = Path(folder)
    remedy = f"give {flag} the folder that training wrote ({CONFIG}, {WEIGHTS})"
    config = read_json(folder / CONFIG, remedy)
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"{folder / CONFIG}: peft_type is {config.get('peft_type')!r}; only LoRA adapters are read, {remedy}, or "
            f"merge it with peft (merge_and_unload), which virtual tokens do not allow, and name the merged model with "
            f"--model_name_or_path"
        )
    if unread := [kind for field, kind in UNREAD.items() if config.get(field)]:
        raise InputError(f"{folder / CONFIG}: is {unread[0]}, which is not read: give {flag} an adapter of plain LoRA")
    first = str(config.get("init_lora_weights"))
    if lost := [kind for name, kind in OF_A_LOST_BASE.items() if first.startswith(name)]:
        raise InputError(
            f"{folder / CONFIG}: is {lost[0]}, trained on a base that this changed, and no file holds the change: "
            f"save it as plain LoRA with peft's save_pretrained(.., path_initial_model_for_weight_conversion=..)"
        )
    rank, by_layer = config.get("r"), config.get("rank_pattern") or config.get("target_parameters")
    if not (folder / WEIGHTS).exists() and (folder / PICKLE).exists():
        raise InputError(
            f"{folder}: holds its weights as a pickle ({PICKLE}), which can run code; only safetensors are read: "
            f"{TRUSTED}"
        )
    shapes = tensor_shapes(folder / WEIGHTS, remedy)
    for name, shape in shapes.items():
        if "lora_A" in name and not (by_layer or shape[:1] == (rank,)):
            raise InputError(f"{folder / WEIGHTS}: {name} has shape {shape} where {CONFIG} says r = {rank}; {remedy}")
    return config


def changes_the_base(config: dict) -> bool:
    """Whether an adapter belongs to a base without the adapter's first product; `config`: its adapter_config.json."""
    return str(config.get("init_lora_weights")).startswith(CHANGE_THE_BASE)


def check_trainable(folder: str | Path, config: dict, flag: str = "--adapter_path") -> None:
    """Raises InputError unless an adapter can be trained further: LoRA, DoRA too, on linear layers of the decoder.

    Rows of added tokens are trained further as well, with the tables that grew for them beside them. Biases and whole
    layers belong to the base that a policy shares with its reference, and the fused loss takes the output layer's own
    weights.

    Args:
        config: its adapter_config.json.
    """
    names = tensor_shapes(Path(folder) / WEIGHTS)
    tables = [name for name in names if any(f".{table}." in name for table in TABLES)]
    lora = [name for name in tables if "lora_" in name or ".lm_head.token_adapter." in name]
    beyond = lora or [name for name in names if not name.endswith(LORA_TENSORS) and name not in tables]
    if tables and not (lora or trained_tokens(config)):
        beyond = tables
    if changes_the_base(config):
        beyond = ["PiSSA or OLoRA, whose base is changed"]
    if beyond or config.get("modules_to_save"):
        held = (beyond or config["modules_to_save"])[0].removeprefix("base_model.model.")
        raise InputError(
            f"{flag} {folder}: holds {held}, and only LoRA on linear layers is trained further: `dialsum merge` it, "
            f"and train a new adapter on the merged model"
        )


def tables_rows(folder: str | Path) -> int | None:
    """Rows of the embedding tables that an adapter holds whole, as for tokens that were added; None without any."""
    names = tensor_shapes(Path(folder) / WEIGHTS)
    whole = [shape for name, shape in names.items() if name.endswith(".weight") and "lora_" not in name
             and any(f".{table}." in name for table in TABLES)]  # fmt: skip
    return whole[0][0] if whole else None


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
    """The weight files that an index names; all are in its folder."""
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
        InputError: config.json is no JSON object, a weight file is not whole, or the index is missing or names a file
            elsewhere.
    """
    folder, remedy = Path(folder), "get the model again"
    read_json(folder / "config.json", "give the folder of a model, or a Hub id")
    names = {path.name for path in folder.glob("model*.safetensors")}
    if (folder / INDEX).exists():
        names |= shards_of(folder / INDEX, remedy)
    elif names and "model.safetensors" not in names:
        raise InputError(f"{folder}: holds {min(names)} and no {INDEX}, which says what is in it; {remedy}")
    for name in sorted(names):
        tensor_shapes(folder / name, remedy)
