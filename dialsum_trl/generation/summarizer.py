"""Base, adapter and tokenizer ready for inference."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import logging

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.vllm_engine import load_vllm
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.base import auto_class_of, load_base, resize_embeddings
from dialsum_trl.models.encoder_decoder import check_precision
from dialsum_trl.prompts.tokenizer import load_tokenizer


@dataclass
class Summarizer:
    """A model ready for inference with its tokenizer; with `--engine vllm` it is in `vllm` and `model` is None."""

    model: Any
    tokenizer: Any
    vllm: Any = None


def load_summarizer(
    model_name_or_path: str,
    adapter_path: str | None = None,
    *,
    dtype: str = "bfloat16",
    quantization: str = "4bit",
    device: str | int | torch.device | None = None,
    merge: bool = True,
    engine: str = "torch",
    revision: str = "main",
    prompt_style: str = "native",
    auto_class: Any = None,
    trust_remote_code: bool = False,
) -> Summarizer:
    """Loads a base model, with an adapter or without, for inference.

    A quantized base is dequantized to `dtype` and the adapter merged into that copy when the GPU has memory for it: the
    function that was trained (the adapter on the rounded weights) up to the rounding of `dtype`, without its cost per
    token. On the original weights the adapter would be another function; merging into 4-bit weights would round twice.

    Args:
        quantization: "4bit", "8bit" (how the adapter was trained) or "none".
        device: default: the GPU of this process, else the CPU.
        merge: False keeps the base quantized and the adapter apart: least memory, slower.
        engine: "torch", or "vllm" where that is installed.
        auto_class: transformers auto class; default: that of causal models or of encoder-decoders, as the config says.
        trust_remote_code: run the Python files that come with the model.

    Raises:
        InputError: model or adapter cannot be loaded, or the engine is not installed.
    """
    tokenizer = load_tokenizer(model_name_or_path, revision, prompt_style, trust_remote_code, adapter_path)
    if engine == "vllm":
        vllm = load_vllm(model_name_or_path, adapter_path, dtype=dtype, revision=revision)
        return Summarizer(None, tokenizer, vllm)
    if engine != "torch":
        raise InputError(f"--engine {engine}: must be torch or vllm")
    if device is None:
        device = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    model = load_base(
        model_name_or_path,
        dtype=dtype,
        quantization=quantization,
        revision=revision,
        device=device,
        auto_class=auto_class or auto_class_of(model_name_or_path, revision, trust_remote_code),
        trust_remote_code=trust_remote_code,
    )
    check_precision(model.config, dtype)
    resize_embeddings(model, tokenizer)
    if quantization != "none" and merge:
        merge = dequantize(model, dtype)
    if adapter_path is not None:
        model = load_adapter(model, adapter_path)
        model = model.merge_and_unload() if merge else model
    return Summarizer(model.eval().requires_grad_(False), tokenizer)


def dequantize(model: Any, dtype: str) -> bool:
    """Turns the 4-bit or 8-bit linear layers of `model` into plain ones of `dtype`, layer by layer, if they fit.

    They fit when a quarter of the GPU's memory is left for the cache; otherwise it stays as it is and a line says so.
    """
    wanted = getattr(torch, dtype)
    if model.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(model.device)
        needed = model.num_parameters() * wanted.itemsize
        if needed > free - total / 4:
            gib = f"{needed / 2**30:.1f} GiB of {wanted} weights, {free / 2**30:.1f} GiB of GPU memory free"
            say(f"the base stays quantized, which is slower: {gib}")
            return False
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns that dequantized weights are meant for merging adapters, as here
    model.dequantize(wanted)
    logging.set_verbosity(verbosity)
    return True
