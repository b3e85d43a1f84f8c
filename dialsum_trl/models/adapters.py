"""LoRA on a base: settings, loading, copies, the dtype of what is trained, checks of what was saved."""

import warnings
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import TrainableTokensWrapper
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.base import load_training_base, resize_tables
from dialsum_trl.models.file_names import CONFIG, WEIGHTS
from dialsum_trl.models.files import check_adapter_files, refuse_reward, tables_rows, tensor_shapes
from dialsum_trl.models.hub import adapter_folder
from dialsum_trl.models.lora import add_lora

# what peft raises where an adapter and a base do not fit, or a package that its kind needs is not there
UNFIT = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError)
POLICY, REFERENCE, CRITIC, REWARD = "default", "reference", "critic", "reward"


def load_base_and_policy(
    model_args: ModelArguments, args: TrainingArguments, tokenizer: PreTrainedTokenizerBase
) -> PeftModel:
    """`load_training_base` with the adapter of an earlier stage, to train further."""
    return load_adapter(load_training_base(model_args, args, tokenizer), model_args.adapter_path, trainable=True)


def load_base_with_lora(
    model_args: ModelArguments, args: TrainingArguments, tokenizer: PreTrainedTokenizerBase, added: list[int]
) -> PreTrainedModel | PeftModel:
    """`load_training_base` with new LoRA adapters, or those of `--adapter_path`; alone with `--use_peft false`.

    Args:
        added: ids that `add_missing_chat_tokens` gave to the tokenizer.
    """
    if not model_args.use_peft and model_args.quantization != "none":
        raise InputError("full fine-tuning (--use_peft false) needs --quantization none: 4-bit weights cannot train")
    base = load_training_base(model_args, args, tokenizer)
    if not model_args.use_peft:
        return base
    if model_args.adapter_path:
        return load_adapter(base, model_args.adapter_path, trainable=True)
    return add_lora(base, model_args, added=added)


def copy_weights(model: PeftModel, source: str, target: str) -> None:
    """Copies the weights of adapter `source` into adapter `target`, in the target's dtype."""
    load_adapter_state(model, adapter_state(model, source), target)


def adapter_state(model: PeftModel, name: str) -> dict[str, torch.Tensor]:
    """Copies of the tensors of adapter `name`, named as when saved, without tables that grew for added tokens."""
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return {key: tensor.clone() for key, tensor in state.items()}


def load_adapter_state(model: PeftModel, state: dict[str, torch.Tensor], name: str) -> None:
    """Loads tensors named as in a saved adapter into adapter `name`.

    Raises:
        TrainingError: a tensor of the adapter is missing in `state`, or `state` has one that the adapter lacks.
    """
    own, with_tables = (
        set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=tables))
        for tables in (False, True)
    )
    state = {key: value for key, value in state.items() if key in own or key not in with_tables}
    if differ := own ^ set(state):
        raise TrainingError(
            f"adapter {name}: {sorted(differ)[0]} is on one side only; it belongs to another base or run"
        )
    set_peft_model_state_dict(model, state, adapter_name=name)


def upcast_trained(model: torch.nn.Module, dtype: str = "float32") -> None:
    """Keeps what is trained in `dtype`, float32 but under DeepSpeed (TRL casts QLoRA adapters to bf16).

    bf16 adapters crash fp16's GradScaler, and in bf16 an update of 2e-5 on a weight of 0.01 is often rounded away.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(getattr(torch, dtype))


def check_adapter(folder: str | Path, shapes: dict[str, tuple] | None = None, trained: bool = True) -> int:
    """Checks that a saved adapter is whole: LoRA pairs of matching shapes, finite, with some non-zero B.

    Args:
        shapes: tensors that must be there, by their names in the file (`sharding.saved_shapes`).
        trained: whether a non-zero B can be expected.

    Returns:
        The number of tensors.

    Raises:
        TrainingError: it is not (ZeRO-3 can save a file of 40 bytes).
    """
    path = Path(folder) / WEIGHTS
    found = tensor_shapes(path)
    for name, shape in (shapes or {}).items():
        if found.get(name) != shape:
            raise TrainingError(
                f"{path}: {name} should be {shape} and is {found.get(name)}; the adapter was not saved whole"
            )
    for name, shape in found.items():
        if "lora_B" in name and (a := found.get(name.replace("lora_B", "lora_A"), ())) and a[0] != shape[1]:
            raise TrainingError(f"{path}: {name} {shape} does not fit its lora_A {a}")
    if name := _not_finite(path):
        raise TrainingError(f"{path}: {name} is empty or not finite; the adapter was not saved whole")
    if trained and not learned(folder):
        raise TrainingError(
            f"{path}: every lora_B is zero; the adapter learned nothing: train more steps, at a higher "
            f"--learning_rate, or without warm-up (--warmup_steps 0)"
        )
    return len(found)


def learned(folder: str | Path) -> bool:
    """Whether some lora_B of a saved adapter is not zero: new adapters start at zero."""
    with safe_open(Path(folder) / WEIGHTS, "pt") as file:
        return any(bool(file.get_tensor(name).any()) for name in list(file.keys()) if "lora_B" in name)


def check_adapter_values(folder: str | Path, flag: str = "--adapter_path") -> None:
    """Raises InputError when a tensor of an adapter is empty or not finite. Reads the whole file."""
    path = Path(folder) / WEIGHTS
    if name := _not_finite(path):
        raise InputError(f"{path}: {name} is empty or not finite; give {flag} an adapter that was saved whole")


def _not_finite(path: Path) -> str | None:
    """The first tensor of a safetensors file that is empty or not finite, by name."""
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(name)
            if tensor.numel() == 0 or not torch.isfinite(tensor).all():
                return name
    return None


def load_adapter(
    base: PreTrainedModel, adapter_path: str | Path, *, trainable: bool = False, flag: str = "--adapter_path"
) -> PeftModel:
    """The base with a saved LoRA adapter on it, as a `PeftModel`.

    Raises:
        InputError: the adapter is of another base (tensors too many, too few or of other shapes), damaged, pickled,
            or not to be had.
    """
    base_name, folder = base.config.name_or_path, adapter_folder(adapter_path, flag)
    config = check_adapter_files(folder, flag)
    refuse_reward(config, adapter_path, flag)
    rows = tables_rows(folder)
    if rows is not None and rows != base.get_input_embeddings().num_embeddings:
        resize_tables(base, rows)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # an error below
            model = PeftModel.from_pretrained(base, folder, is_trainable=trainable, use_safetensors=True)
    except torch.OutOfMemoryError:
        raise
    except (*UNFIT, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{flag} {adapter_path}: does not fit {base_name}: {reason} Give the folder that training wrote "
            f"({CONFIG}, {WEIGHTS}) and the base it was trained on"
        ) from error
    saved = set(tensor_shapes(folder / WEIGHTS))
    # the whole tables are there where LoRA is on them or they have grown, if peft found the base to see that
    differences = (saved ^ set(get_peft_model_state_dict(model, save_embedding_layers=kind)) for kind in (False, True))
    if differ := sorted(min(differences, key=len)):
        where = "the adapter" if differ[0] in saved else "the model"
        raise InputError(
            f"{flag} {adapter_path}: does not fit {base_name}: {len(differ)} tensors are on one side only, such as "
            f"{differ[0]} ({where}); give the base it was trained on"
        )
    return model


def merge(model: PeftModel) -> PreTrainedModel:
    """The base with the adapter added to its weights: the same function.

    An adapter that changes one of two tied tables, or each in another way, leaves them untied (`merge_and_unload` alone
    would add both changes to the one tensor).
    """
    base = model.get_base_model()
    tables = [table for table in (base.get_input_embeddings(), base.get_output_embeddings()) if table is not None]
    plain = [_plain(table) for table in tables]
    tied = len(tables) == 2 and plain[0].weight is plain[1].weight
    if tied and plain != tables:
        plain[1].weight = torch.nn.Parameter(plain[1].weight.detach().clone(), requires_grad=False)
    merged = model.merge_and_unload(safe_merge=True)
    if tied:
        given, out = merged.get_input_embeddings(), merged.get_output_embeddings()
        if same := torch.equal(given.weight, out.weight):
            out.weight = given.weight
        merged.config.tie_word_embeddings = merged.config.get_text_config().tie_word_embeddings = same
    return merged


def _plain(table: torch.nn.Module) -> torch.nn.Module:
    """The embedding or output layer within peft's layers around it."""
    while isinstance(table, BaseTunerLayer | TrainableTokensWrapper):
        table = table.token_adapter if isinstance(table, TrainableTokensWrapper) else table.get_base_layer()
    return table
