"""Base, adapter and tokenizer ready for inference."""

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.prompt_texts import RECORDED
from dialsum_trl.generation.vllm_engine import VllmEngine, load_vllm
from dialsum_trl.models.adapter_settings import use_adapter_settings
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.adapters import merge as merge_adapter
from dialsum_trl.models.base import auto_class_of, dequantize, load_base, resize_embeddings
from dialsum_trl.models.devices import dtype_here, own_dtype
from dialsum_trl.models.encoder_decoder import check_precision
from dialsum_trl.models.hub import adapter_folder
from dialsum_trl.prompts.prompt import set_prompt_texts
from dialsum_trl.prompts.tokenizer import load_tokenizer


@dataclass
class Summarizer:
    """A model ready for inference with its tokenizer; with `--engine vllm` it is in `vllm` and `model` is None."""

    model: PreTrainedModel | PeftModel | None
    tokenizer: PreTrainedTokenizerBase
    vllm: VllmEngine | None = None


# of a model that records nothing
UNRECORDED = {
    "model_revision": "main", "dtype": "bfloat16", "quantization": "4bit", "prompt_style": "native",
}  # fmt: skip


def load_summarizer(
    model_name_or_path: str | None = None,
    adapter_path: str | None = None,
    *,
    dtype: str | None = None,
    quantization: str | None = None,
    device: str | int | torch.device | None = None,
    merge: bool = True,
    engine: str = "torch",
    model_revision: str | None = None,
    prompt_style: str | None = None,
    system_prompt: str | None = None,
    instruction: list[str] | None = None,
    speakers: str | None = None,
    speech_rules: list[str] | None = None,
    trust_remote_code: bool = False,
) -> Summarizer:
    """Loads a base model, with an adapter or without, for inference.

    Base, revision, dtype, quantization, prompt style and the texts of the prompt are those of the adapter's training
    (or of the fully fine-tuned model's) unless they are given; of a model that records nothing "main", "bfloat16",
    "4bit", "native" and the Korean texts.

    A quantized base is dequantized to `dtype` and the adapter merged into that copy when the GPU has memory for it: the
    function that was trained (the adapter on the rounded weights) up to the rounding of `dtype`, without its cost per
    token. On the original weights the adapter would be another function; merging into 4-bit weights would round twice.

    Args:
        model_name_or_path: Hub id or folder.
        adapter_path: folder, or Hub id.
        dtype: "bfloat16", "float16", "float32" or "auto".
        quantization: "4bit", "8bit" or "none".
        device: default: the GPU of this process, else the CPU.
        merge: False keeps the base quantized and the adapter apart: least memory, slower.
        engine: "torch", or "vllm" where that is installed.
        model_revision: branch, tag or commit of the base.
        prompt_style: "native" or "instruction".
        system_prompt: the system text.
        instruction: instructions; the first is used.
        speakers: "keep", "numbered" or "prefixed".
        speech_rules: names of `data.speech.RULES`.
        trust_remote_code: run the Python files that come with the model.

    Raises:
        InputError: model or adapter cannot be loaded, or the engine is not installed.
    """
    if engine not in ("torch", "vllm"):
        raise InputError(f"--engine {engine}: must be torch or vllm")
    values: dict[str, Any] = {
        "adapter_path": adapter_path and str(adapter_folder(adapter_path)),
        "model_name_or_path": model_name_or_path,
        "model_revision": model_revision,
        "dtype": dtype,
        "quantization": quantization,
        "prompt_style": prompt_style,
        "system_prompt": system_prompt,
        "instruction": instruction,
        "speakers": speakers,
        "speech_rules": speech_rules,
        "trust_remote_code": trust_remote_code,
    }
    _fill_in(values, device)
    base, adapter, revision = (values[name] for name in ("model_name_or_path", "adapter_path", "model_revision"))
    tokenizer = load_tokenizer(base, revision, values["prompt_style"], trust_remote_code, adapter)
    set_prompt_texts(tokenizer, *(values[name] for name in RECORDED))
    if engine == "vllm":
        return Summarizer(None, tokenizer, load_vllm(base, adapter, dtype=values["dtype"], revision=revision))
    return Summarizer(_load_model(values, tokenizer, device, merge).eval().requires_grad_(False), tokenizer)


def _fill_in(values: dict[str, Any], device: Any) -> None:
    """Gives settings that are None the value of the adapter's or the model's training, and a dtype that runs here."""
    given = {name for name, value in values.items() if value is not None}
    values |= {name: value for name, value in UNRECORDED.items() if name not in given}
    if values.keys() - given - {"adapter_path"}:  # a stage has compared its settings with the adapter's already
        use_adapter_settings(values, given)
    if values["dtype"] == "auto":
        values["dtype"] = own_dtype(values["model_name_or_path"], values["model_revision"], values["trust_remote_code"])
    if device is None or torch.device(device).type == "cuda":
        values["dtype"] = dtype_here(values["dtype"], False)


def _load_model(values: dict[str, Any], tokenizer: PreTrainedTokenizerBase, device: Any, merge: bool) -> Any:
    """The base on its device, dequantized and with the adapter merged where that is wanted and fits."""
    place = [values[name] for name in ("model_name_or_path", "model_revision", "trust_remote_code")]
    if device is None:
        device = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    model = load_base(
        values["model_name_or_path"],
        dtype=values["dtype"],
        quantization=values["quantization"],
        revision=values["model_revision"],
        device=device,
        auto_class=auto_class_of(*place),
        trust_remote_code=values["trust_remote_code"],
    )
    check_precision(model.config, values["dtype"])
    resize_embeddings(model, tokenizer)
    if values["quantization"] != "none" and merge:
        merge = dequantize_if_it_fits(model, values["dtype"])
    if values["adapter_path"] is not None:
        model = load_adapter(model, values["adapter_path"])
        model = merge_adapter(model) if merge else model
    return model


def dequantize_if_it_fits(model: Any, dtype: str) -> bool:
    """Turns the 4-bit or 8-bit linear layers of `model` into plain ones of `dtype`, layer by layer, if they fit.

    They fit when a quarter of the GPU's memory is left for the cache; otherwise it stays as it is and a line says so.
    """
    if model.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(model.device)
        needed = model.num_parameters() * getattr(torch, dtype).itemsize
        if needed > free - total / 4:
            gib = f"{needed / 2**30:.1f} GiB of {dtype} weights, {free / 2**30:.1f} GiB of GPU memory free"
            say(f"the base stays quantized, which is slower: {gib}")
            return False
    dequantize(model, dtype, bitsandbytes=True)
    return True
