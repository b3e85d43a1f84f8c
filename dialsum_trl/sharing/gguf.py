"""A merged model as one GGUF file with an Ollama Modelfile, by llama.cpp's converter and quantizer from PyPI.

Frequent complaints about such files: another template than in training, a doubled BOS, answers without an end. So the
file's end token is the template's end of turn, and the Modelfile's template is the rendered prompt of training itself.
"""

import ctypes
import importlib.util
import json
import logging
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_json
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.settings.defaults import MAX_LENGTH, MAX_NEW_TOKENS
from dialsum_trl.models.families.registry import PRE_TOKENIZERS
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import prompt_texts
from dialsum_trl.prompts.templates import template_kwargs

UNQUANTIZED = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16"}  # of gguf.LlamaFileType
QUANTIZED = ("q8_0", "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q4_0", "q3_k_m", "q2_k")
KINDS = (*UNQUANTIZED, *QUANTIZED)
PACKAGES = {"convert_hf_to_gguf": "convert-hf-to-gguf", "llama_cpp": "llama-cpp-python"}
MODELFILE = '''\
# ollama create dialsum -f Modelfile && ollama run dialsum "$(cat dialogue.txt)"
FROM ./{file}
TEMPLATE """{template}"""
SYSTEM """{system}"""
{stops}
PARAMETER temperature 0
PARAMETER repeat_penalty 1
PARAMETER num_predict {new_tokens}
PARAMETER num_ctx {context}
'''


def check_kind(kind: str) -> None:
    """Raises InputError for an unknown kind of GGUF, and where a package is missing."""
    if kind not in KINDS:
        raise InputError(f"--gguf {kind}: must be one of {', '.join(KINDS)}")
    if missing := [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]:
        raise InputError(f'--gguf {kind}: needs {" and ".join(missing)}: pip install "dialsum-trl[gguf]"')


def write_gguf(model: Path, tokenizer: PreTrainedTokenizerBase, file: Path, kind: str) -> Counter:
    """Converts a merged model's folder to `file`; its end token becomes the template's end of turn.

    Returns:
        How many tensors there are of each type.
    """
    end = stop_token_ids(tokenizer)[0]
    config = read_json(model / "config.json", "merge it again")
    write_json(model / "config.json", config | {"eos_token_id": end})
    described = read_json(model / "tokenizer_config.json", "merge it again")
    write_json(model / "tokenizer_config.json", described | {"eos_token": tokenizer.convert_ids_to_tokens(end)})
    if kind in UNQUANTIZED:
        convert(model, file, kind)
    else:
        plain = file.with_suffix(".plain")
        convert(model, plain, "f32" if config.get("dtype") == "float32" else "bf16")
        quantize(plain, file, kind)
        plain.unlink()
    return tensor_types(file)


def convert(model: Path, file: Path, kind: str) -> None:
    """By llama.cpp's converter, without quantization."""
    import gguf  # an optional package, as the next two
    from conversion import ModelType, get_model_class  # of convert-hf-to-gguf
    from conversion.base import ModelBase, get_model_architecture

    logging.getLogger("hf-to-gguf").setLevel(logging.CRITICAL)  # it warns of what _pre_tokenizer then answers
    try:
        hparams = ModelBase.load_hparams(model, False)
        known = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
        own = {"model_arch": known.model_arch, "get_vocab_base_pre": _pre_tokenizer(known, model)}
        converter = type(known.__name__, (known,), own)
        with torch.inference_mode():
            converter(model, getattr(gguf.LlamaFileType, UNQUANTIZED[kind]), file).write()
    except NotImplementedError as error:
        raise InputError(f"{model.name}: llama.cpp's converter cannot take it: {error}") from error


def _pre_tokenizer(known: type, model: Path):
    """`get_vocab_base_pre` that goes by the split pattern where llama.cpp does not know the vocabulary."""

    def name_of(self, tokenizer) -> str:
        try:
            return known.get_vocab_base_pre(self, tokenizer)
        except NotImplementedError:
            text = json.dumps(read_json(model / "tokenizer.json", "merge it again")["pre_tokenizer"]).replace(
                "\\\\", "\\"
            )
            for pattern, name in PRE_TOKENIZERS.items():
                if pattern in text:
                    return name
            raise

    return name_of


def quantize(source: Path, file: Path, kind: str) -> None:
    """By llama.cpp's quantizer, without an importance matrix."""
    import llama_cpp  # an optional package

    llama_cpp._logger.set_verbose(False)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    if llama_cpp.llama_model_quantize(str(source).encode(), str(file).encode(), ctypes.byref(params)):
        raise InputError(f"--gguf {kind}: llama.cpp's quantizer failed on this model; use f16, bf16 or q8_0")


def load_gguf(file: Path) -> Any:
    """A GGUF file in llama.cpp, as `llama_cpp.Llama`."""
    import llama_cpp  # an optional package

    return llama_cpp.Llama(str(file), n_ctx=MAX_LENGTH + MAX_NEW_TOKENS, verbose=False)


def tensor_types(file: Path) -> Counter:
    """How many weight matrices of a GGUF file have each type."""
    from gguf import GGUFReader  # an optional package

    return Counter(tensor.tensor_type.name for tensor in GGUFReader(file).tensors if len(tensor.shape) > 1)


def prompt_template(tokenizer: PreTrainedTokenizerBase, adds_bos: bool) -> str:
    """The prompt of training as Ollama's template: the dialogue is `{{ .Prompt }}`, the system text `{{ .System }}`.

    Args:
        adds_bos: the runtime writes BOS itself, so it is left out.
    """
    texts = prompt_texts(tokenizer)
    if found := re.search(r"\{(topic|speakers)\}", texts.system + texts.instructions[0]):
        raise InputError(f"the prompt has {found[0]}, which a Modelfile cannot fill: serve it by `dialsum merge`")
    messages = replace(texts, system="{{ .System }}").messages("{{ .Prompt }}")
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **template_kwargs(tokenizer)
    )
    return text.removeprefix(tokenizer.bos_token) if adds_bos and tokenizer.bos_token else text


def modelfile(file: str, template: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Ollama's Modelfile: decoding as `predict --num_beams 1` does it."""
    stops = [f'PARAMETER stop "{token}"' for token in tokenizer.convert_ids_to_tokens(stop_token_ids(tokenizer))]
    return MODELFILE.format(
        file=file,
        template=template,
        system=prompt_texts(tokenizer).system,
        stops="\n".join(stops),
        new_tokens=MAX_NEW_TOKENS,
        context=MAX_LENGTH + MAX_NEW_TOKENS,
    )
