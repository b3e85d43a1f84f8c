"""A base model: quantized while it loads, with a row for every token, put where the launcher wants it."""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial

import torch
from bitsandbytes.nn import Linear4bit
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
    modeling_utils,
    set_seed,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)
from transformers.utils import logging

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.launcher import current
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.pretrained import check_kind, load
from dialsum_trl.models.quantized import bits_on_disk, config_for, on_disk, partial_blocks

NEW_HEADS = ("score.",)  # a reward model's head, which the base does not have
OLD_HEADS = ("lm_head.",)  # the language head, which a reward model does not have
# buffers that older versions of transformers saved: none of them is a weight
BUFFERS = (".inv_freq", ".position_ids", ".masked_bias", ".attn.bias", "coder.version")


def resize_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Adds rows to the embedding table for tokens beyond its end, if there are any."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        resize_tables(model, -(-len(tokenizer) // 64) * 64)


def resize_tables(model: PreTrainedModel, rows: int) -> None:
    """Gives the embedding table and the output layer `rows` rows; two tables stay two."""
    output = model.get_output_embeddings()
    if output is not None and output.weight is not model.get_input_embeddings().weight:
        # transformers declares every T5 tied and would replace the output table of mT5 and T5 1.1 by the input's
        model.config.tie_word_embeddings = False
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(0)  # rows that no adapter holds are the same wherever the model is loaded
        model.resize_token_embeddings(rows)


def quantization_config(quantization: str, dtype: str, storage: str = "uint8") -> BitsAndBytesConfig | None:
    """bitsandbytes settings: nf4 with double quantization and the model's dtype for compute, or 8-bit, or None."""
    if quantization == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
            bnb_4bit_quant_storage=getattr(torch, storage),
        )
    return BitsAndBytesConfig(load_in_8bit=True) if quantization == "8bit" else None


@contextmanager
def read_by_tensor() -> Iterator[None]:
    """Within it transformers reads one tensor at a time from a base's files.

    Otherwise it maps them, and what it has read of them counts as this process' memory until all is loaded: 15 GiB for
    a base of 8B, of which 4 bits leave 5.
    """
    modeling_utils.safe_open = lambda file, **kwargs: safe_open(file, **kwargs | {"backend": "pread"})
    try:
        yield
    finally:
        modeling_utils.safe_open = safe_open


def load_base(
    name_or_path: str,
    *,
    dtype: str = "bfloat16",
    quantization: str = "4bit",
    revision: str = "main",
    quant_storage: str = "uint8",
    attn_implementation: str | None = None,
    device: torch.device | str | None = None,
    auto_class: type | None = None,
    trust_remote_code: bool = False,
    **kwargs,
) -> PreTrainedModel:
    """The base model, quantized while it loads.

    Args:
        name_or_path: folder or Hub id.
        dtype: dtype of what stays unquantized, and of 4-bit compute.
        quantization: "4bit", "8bit" or "none", which dequantizes a base that is quantized on disk.
        quant_storage: dtype in which 4-bit weights are stored; FSDP needs the one of the unquantized weights.
        device: this process' device; the whole model goes there unless DeepSpeed or FSDP splits it.
        auto_class: transformers auto class; by default that of decoders (`decoder_class`).
        kwargs: passed on to its `from_pretrained`.

    Raises:
        InputError: the folder or Hub id cannot be loaded, has no safetensors, is of another kind than `auto_class`, is
            quantized on disk in another way than asked, or has other weights than the architecture (transformers draws
            those that are missing at random and leaves out those that it does not know).
    """
    config = kwargs.get("config") or load_config(name_or_path, revision, trust_remote_code)
    if auto_class in (None, AutoModelForCausalLM, AutoModelForSeq2SeqLM):
        check_kind(config, name_or_path, encoder_decoder=auto_class is AutoModelForSeq2SeqLM)

    own = on_disk(config)
    if own:
        kwargs["config"] = config_for(config, name_or_path, quantization, dtype)
    else:  # passed to a checkpoint with its own it would replace that, and its scales would be left out
        kwargs["quantization_config"] = quantization_config(quantization, dtype, quant_storage)

    # otherwise transformers accepts any open pull request with the converter's title instead of the given revision
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    # weights that stay as they are in main memory are better mapped: the system can drop them and read them again
    with partial_blocks(), read_by_tensor() if quantization != "none" else nullcontext():
        model, found = load(
            (auto_class or decoder_class(config)).from_pretrained,
            name_or_path,
            "weights",
            trust_remote_code,
            output_loading_info=True,
            revision=revision,
            dtype=getattr(torch, dtype),
            device_map=device_map(device, quantization),
            attn_implementation=attn_implementation,
            use_safetensors=True,
            **kwargs,
        )
    check_found(found, name_or_path)
    if own and quantization == "none":
        model = dequantize(model, dtype, bitsandbytes=bits_on_disk(own) is not None)
    if quantization == "4bit" and model.device.type == "cpu":
        keep_trainable_on_cpu(model)
    return model


def check_found(found: dict, name_or_path: str) -> None:
    """Raises InputError unless a checkpoint holds the weights of its architecture, all of them and no others.

    Args:
        found: the loading info of `from_pretrained`, which leaves out what the model's class declares ignorable.
    """
    missing = sorted(name for name in found["missing_keys"] if not name.startswith(NEW_HEADS))
    new_head = len(missing) < len(found["missing_keys"])
    ignored = OLD_HEADS if new_head else ()
    unexpected = sorted(
        name for name in found["unexpected_keys"] if not f".{name}".endswith(BUFFERS) and not name.startswith(ignored)
    )
    mismatched = sorted(str(item[0]) for item in found.get("mismatched_keys", ()))
    if missing:
        raise InputError(
            f"the weights of {name_or_path} lack {len(missing)} tensors, such as {missing[0]}; get the model again"
        )
    if unexpected:
        raise InputError(
            f"the weights of {name_or_path} have {len(unexpected)} tensors that its architecture has no place for, "
            f"such as {unexpected[0]}: the model would compute without them; give a model whose config.json is of its "
            f"weights"
        )
    if mismatched:
        raise InputError(
            f"the weights of {name_or_path} have {len(mismatched)} tensors of other shapes than its config.json says, "
            f"such as {mismatched[0]}; get the model again"
        )


def dequantize(model: PreTrainedModel, dtype: str, bitsandbytes: bool) -> PreTrainedModel:
    """The model with plain weights of `dtype` throughout, which can be saved.

    Args:
        bitsandbytes: whether it still has the layers of bitsandbytes; others were dequantized while they loaded.
    """
    wanted = getattr(torch, dtype)
    if bitsandbytes:
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # it warns that dequantized weights are meant for merging adapters
        model = model.dequantize(wanted)
        logging.set_verbosity(verbosity)
    for parameter in model.parameters():
        if parameter.dtype == torch.bfloat16:  # FP8 and MXFP4 are dequantized to it, whatever `dtype` says
            parameter.data = parameter.data.to(wanted)
    model._weight_conversions = None  # how the quantized files were read, by which plain weights cannot be saved
    return model


_loaded_once: ContextVar[dict[str, PreTrainedModel] | None] = ContextVar("loaded_once", default=None)


@contextmanager
def loaded_once() -> Iterator[None]:
    """Trainings in this block read each base from the disk once, and get copies of it: several adapters on one base."""
    token = _loaded_once.set({})
    try:
        yield
    finally:
        _loaded_once.reset(token)


def load_training_base(
    model_args: ModelArguments, args: TrainingArguments, tokenizer: PreTrainedTokenizerBase, **more
) -> PreTrainedModel:
    """The base that a run trains on, as its flags say: with a row for each of the tokenizer's tokens, without a cache.

    All random generators start at `args.seed` here, so that new rows, heads and adapters are alike in every run and on
    every process.

    Args:
        more: what `load_base` takes beyond the flags, such as `auto_class`.
    """
    read = partial(
        load_base,
        model_args.model_name_or_path,
        dtype=model_args.dtype,
        quantization=model_args.quantization,
        revision=model_args.model_revision,
        quant_storage=model_args.bnb_4bit_quant_storage,
        attn_implementation=model_args.attn_implementation,
        device=args.device,
        trust_remote_code=model_args.trust_remote_code,
        **more,
    )
    kept = _loaded_once.get()
    if kept is None or current().shards_weights:
        model = read()
    else:
        key = str((read.args, read.keywords))
        if key not in kept:
            kept[key] = read()
        model = copy.deepcopy(kept[key])
    set_seed(args.seed)
    resize_embeddings(model, tokenizer)
    model.config.use_cache = False
    return model


def keep_trainable_on_cpu(model: PreTrainedModel) -> None:
    """Switches off bitsandbytes' repacking of 4-bit weights on CPUs with AVX512-BF16.

    There the first forward in eval mode rounds the weights once more and packs them into a layout whose product has no
    backward: after an evaluation or a rollout, training would silently continue without part of the gradient.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def load_config(name_or_path: str, revision: str = "main", trust_remote_code: bool = False) -> PretrainedConfig:
    """The model's configuration. Raises InputError when it cannot be loaded."""
    return load(AutoConfig.from_pretrained, name_or_path, "configuration", trust_remote_code, revision=revision)


def auto_class_of(name_or_path: str, revision: str = "main", trust_remote_code: bool = False) -> type:
    """The transformers auto class that generates with this model: causal, or encoder-decoder."""
    config = load_config(name_or_path, revision, trust_remote_code)
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else decoder_class(config)


def decoder_class(config: PretrainedConfig) -> type:
    """The auto class that loads a decoder: causal, or multimodal where transformers has no class for its text alone."""
    multimodal, text = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForImageTextToText if multimodal and not text else AutoModelForCausalLM


def device_map(device: torch.device | str | None, quantization: str) -> dict | None:
    """Where `from_pretrained` puts the base: whole on this process' device, or where the engine wants it.

    ZeRO-3 refuses a device map (it splits the weights while they load); FSDP moves an unquantized base from the host to
    the device one layer at a time.
    """
    kind = current().kind
    if device is None or kind == "zero3" or (kind == "fsdp" and quantization == "none"):
        return None
    return {"": device}
