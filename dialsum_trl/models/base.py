"""A base model: quantized while it loads, with a row for every token, put where the launcher wants it."""

import os

import torch
from bitsandbytes.nn import Linear4bit
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
    set_seed,
)

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.launcher import current
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.pretrained import check_kind, check_lora_targets, load

NEW_HEADS = ("score.",)  # a reward model's head, which the base does not have


def resize_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Adds rows to the embedding table for tokens beyond its end, if there are any."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        output = model.get_output_embeddings()
        if output is not None and output.weight is not model.get_input_embeddings().weight:
            # transformers declares every T5 tied and would replace the output table of mT5 and T5 1.1 by the input's
            model.config.tie_word_embeddings = False
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)


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
        quantization: "4bit", "8bit" or "none".
        quant_storage: dtype in which 4-bit weights are stored; FSDP needs the one of the unquantized weights.
        device: this process' device; the whole model goes there unless DeepSpeed or FSDP splits it.
        auto_class: transformers auto class; causal LM by default.
        kwargs: passed on to its `from_pretrained`.

    Raises:
        InputError: the folder or Hub id cannot be loaded, has no safetensors, is of another kind than `auto_class`, or
            lacks weights of the architecture (transformers would draw them at random).
    """
    if auto_class in (None, AutoModelForCausalLM, AutoModelForSeq2SeqLM):
        config = kwargs.get("config") or load_config(name_or_path, revision, trust_remote_code)
        check_kind(config, name_or_path, encoder_decoder=auto_class is AutoModelForSeq2SeqLM)

    # otherwise transformers accepts any open pull request with the converter's title instead of the given revision
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    model, found = load(
        (auto_class or AutoModelForCausalLM).from_pretrained,
        name_or_path,
        "weights",
        trust_remote_code,
        output_loading_info=True,
        revision=revision,
        dtype=getattr(torch, dtype),
        quantization_config=quantization_config(quantization, dtype, quant_storage),
        device_map=device_map(device, quantization),
        attn_implementation=attn_implementation,
        use_safetensors=True,
        **kwargs,
    )
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(NEW_HEADS)):
        raise InputError(
            f"the weights of {name_or_path} lack {len(missing)} tensors, such as {missing[0]}; get the model again"
        )
    if quantization == "4bit" and model.device.type == "cpu":
        keep_trainable_on_cpu(model)
    return model


def base_of(model_args: ModelArguments, device: torch.device | str | None, **more) -> PreTrainedModel:
    """`load_base` with the flags of a recipe (`ModelArguments`) on this process' device.

    Raises:
        InputError: as `load_base`, and for layers of `--lora_target_modules` that the model does not have.
    """
    model = load_base(
        model_args.model_name_or_path,
        dtype=model_args.dtype,
        quantization=model_args.quantization,
        revision=model_args.model_revision,
        quant_storage=model_args.bnb_4bit_quant_storage,
        attn_implementation=model_args.attn_implementation,
        device=device,
        trust_remote_code=model_args.trust_remote_code,
        **more,
    )
    if model_args.use_peft and not model_args.adapter_path:
        check_lora_targets(model, model_args.lora_target_modules)
    return model


def load_training_base(
    model_args: ModelArguments, args: TrainingArguments, tokenizer: PreTrainedTokenizerBase, **more
) -> PreTrainedModel:
    """The base that a run trains on: `base_of` with a row for each of the tokenizer's tokens, and without a cache.

    All random generators start at `args.seed` here, so that new rows, heads and adapters are alike in every run and on
    every process.

    Args:
        more: what `load_base` takes beyond the flags, such as `auto_class`.

    Raises:
        InputError: as `base_of`.
    """
    model = base_of(model_args, args.device, **more)
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
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def device_map(device: torch.device | str | None, quantization: str) -> dict | None:
    """Where `from_pretrained` puts the base: whole on this process' device, or where the engine wants it.

    ZeRO-3 refuses a device map (it splits the weights while they load); FSDP moves an unquantized base from the host to
    the device one layer at a time.
    """
    kind = current().kind
    if device is None or kind == "zero3" or (kind == "fsdp" and quantization == "none"):
        return None
    return {"": device}
