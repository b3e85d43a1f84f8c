"""Bases that are quantized on disk: how one is loaded for the `--quantization` that is asked, or why it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

from dialsum_trl.core.errors import InputError

DEQUANTIZED = ("fp8", "mxfp8", "mxfp4")  # methods whose quantizer in transformers dequantizes while it loads
NAMES = {"fp8": "FP8", "fbgemm_fp8": "FP8 (fbgemm)", "mxfp4": "MXFP4", "mxfp8": "MXFP8", "awq": "AWQ", "gptq": "GPTQ"}


def on_disk(config: PretrainedConfig) -> dict[str, Any]:
    """The quantization that a checkpoint's config.json declares; empty for plain weights."""
    found = getattr(config, "quantization_config", None) or {}
    return dict(found) if isinstance(found, dict) else found.to_dict()


def bits_on_disk(quantization: dict[str, Any]) -> str | None:
    """ "4bit" or "8bit" for weights that bitsandbytes wrote, None for another method."""
    if quantization.get("load_in_8bit"):
        return "8bit"
    return "4bit" if quantization.get("load_in_4bit") or quantization.get("quant_method") == "bitsandbytes" else None


def method_of(quantization: dict[str, Any]) -> str:
    """What quantized the weights, for a message."""
    if bits := bits_on_disk(quantization):
        return f"bitsandbytes ({bits[0]}-bit)"
    method = str(quantization.get("quant_method") or "a method that it does not name")
    return NAMES.get(method, method)


def config_for(config: PretrainedConfig, name_or_path: str, quantization: str, dtype: str) -> PretrainedConfig:
    """The configuration with which `from_pretrained` reads a base that is quantized on disk.

    bitsandbytes' weights are used as they are for their own bits, with `dtype` for compute; with "none" they are read
    as they are, for `model.dequantize`. FP8 and MXFP4 are dequantized while they load, with "none" only.
    """
    found = on_disk(config)
    bits, by = bits_on_disk(found), method_of(found)
    unquantized = "name the unquantized model with --model_name_or_path"
    if bits and quantization not in (bits, "none"):
        raise InputError(
            f"--quantization {quantization}: {name_or_path} is quantized on disk by {by}: give --quantization {bits} "
            f"to use it as it is, --quantization none to dequantize it, or {unquantized}"
        )
    if not bits and found.get("quant_method") not in DEQUANTIZED:
        raise InputError(
            f"{name_or_path} is quantized on disk by {by}, which cannot be trained, dequantized or merged here: "
            f"{unquantized}, from which --quantization 4bit makes a base as small"
        )
    if not bits and quantization != "none":
        raise InputError(
            f"--quantization {quantization}: {name_or_path} is quantized on disk by {by}: give --quantization none "
            f"to dequantize it, or {unquantized}"
        )
    config = deepcopy(config)
    more = {"bnb_4bit_compute_dtype": dtype} if bits == "4bit" else {} if bits else {"dequantize": True}
    config.quantization_config = {**found, **more}
    return config


@contextmanager
def partial_blocks() -> Iterator[None]:
    """Within it FP8 weights are dequantized by blocks of the size that config.json names, the last ones cut off.

    transformers divides rows and columns by the number of scales: of 448 columns and 4 scales for blocks of 128 it
    would take blocks of 112, with the wrong scale for a part of the columns.
    """
    usual = Fp8Dequantize._dequantize_one

    def by_size(self, quantized, scales, output_dtype=None):
        sizes = self.hf_quantizer.quantization_config.weight_block_size
        shape = quantized.shape[-2:]
        if not sizes or quantized.dtype != torch.float8_e4m3fn or scales.dim() < 2:
            return usual(self, quantized, scales, output_dtype)
        wanted = [count * size for count, size in zip(scales.shape[-2:], sizes, strict=True)]
        more = [whole - side for whole, side in zip(wanted, shape, strict=True)]
        if more == [0, 0] or any(not 0 <= extra < size for extra, size in zip(more, sizes, strict=True)):
            return usual(self, quantized, scales, output_dtype)
        padded = quantized.new_zeros((*quantized.shape[:-2], *wanted), dtype=torch.float32)
        padded[..., : shape[0], : shape[1]] = quantized.float()
        return usual(self, padded, scales, output_dtype)[..., : shape[0], : shape[1]].contiguous()

    Fp8Dequantize._dequantize_one = by_size
    try:
        yield
    finally:
        Fp8Dequantize._dequantize_one = usual
