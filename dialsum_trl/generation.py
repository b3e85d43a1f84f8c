"""Summaries from a model: settings, loading for inference, one function that every stage generates with.

Llama and Qwen go through `decoding` (slots, captured steps); every other architecture, encoder-decoders included,
through transformers' `generate`. Both give the same tokens for greedy decoding and beam search.
"""

import zlib
from dataclasses import dataclass
from typing import Any

from dialsum_trl.errors import InputError
from dialsum_trl.prompts import INSTRUCTIONS, MAX_LENGTH


@dataclass
class GenerationSettings:
    """How summaries are generated.

    Attributes:
        max_new_tokens: longest summary, tokens.
        num_beams: beams; 1 is greedy, or sampling with `do_sample`.
        length_penalty: exponent of the length that a finished beam's score is divided by.
        no_repeat_ngram_size: no n-gram of the summary occurs twice; 0 allows all. For Llama and Qwen the prompt is not
            counted.
        num_return_sequences: summaries a dialogue: the best beams, or independent samples.
        batch_size: prompts at a time; None: what the memory allows.
        seed: of sampling. A sample depends on the seed and its prompt, not on its batch (with transformers' `generate`:
            on the batch too).
        max_length: tokens of prompt and summary; longer dialogues lose middle turns, as in training.
    """

    max_new_tokens: int = 100
    num_beams: int = 4
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_return_sequences: int = 1
    batch_size: int | None = None
    seed: int = 42
    max_length: int = MAX_LENGTH

    def __post_init__(self):
        for name in ("max_new_tokens", "num_beams", "num_return_sequences"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(
                f"--batch_size {self.batch_size}: must be at least 1; leave it out to use the memory there is"
            )
        if self.no_repeat_ngram_size < 0:
            raise InputError(f"--no_repeat_ngram_size {self.no_repeat_ngram_size}: must be 0 (off) or more")
        if self.do_sample and self.num_beams > 1:
            raise InputError(f"--do_sample with --num_beams {self.num_beams}: sampling needs --num_beams 1")
        if self.do_sample and not (self.temperature > 0 and 0 < self.top_p <= 1):
            raise InputError(
                f"--temperature {self.temperature} --top_p {self.top_p}: need temperature > 0 and 0 < top_p <= 1 "
                f"(greedy decoding is --do_sample false --num_beams 1)"
            )
        if not self.do_sample and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"--num_return_sequences {self.num_return_sequences}: {self.num_beams} beam(s) give at most as many "
                f"summaries; raise --num_beams or sample with --do_sample true --num_beams 1"
            )

    @property
    def width(self) -> int:
        """Candidates of a prompt that are decoded side by side."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences


@dataclass
class Summarizer:
    """A model ready for inference with its tokenizer; with `--engine vllm` it is in `vllm` and `model` is None."""

    model: Any
    tokenizer: Any
    vllm: Any = None


@dataclass
class Summary:
    """One generated summary: its text, its length in tokens, and whether it was cut off by `max_new_tokens`."""

    text: str
    tokens: int
    hit_limit: bool


def load_summarizer(
    model_name_or_path: str,
    adapter_path: str | None = None,
    *,
    dtype: str = "bfloat16",
    quantization: str = "4bit",
    device=None,
    merge: bool = True,
    engine: str = "torch",
    revision: str = "main",
    prompt_style: str = "native",
    auto_class=None,
    trust_remote_code: bool = False,
) -> Summarizer:
    """Loads a base model, with an adapter or without, for inference.

    A quantized base is dequantized to `dtype` and the adapter merged into that copy when the GPU has room: the
    function that was trained (the adapter on the rounded weights) up to the rounding of `dtype`, without its cost a
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
    import torch

    from dialsum_trl.encoder_decoder import check_precision
    from dialsum_trl.models import auto_class_of, load_base, load_tokenizer, resize_embeddings
    from dialsum_trl.share.weights import load_adapter

    tokenizer = load_tokenizer(model_name_or_path, revision, prompt_style, trust_remote_code, adapter_path)
    if engine == "vllm":
        from dialsum_trl.decode.vllm_engine import load_vllm

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


def dequantize(model, dtype: str) -> bool:
    """Turns the 4-bit or 8-bit linear layers of `model` into plain ones of `dtype`, layer by layer, if they fit.

    They fit when a quarter of the GPU's memory is left for the cache; otherwise it stays as it is and a line says so.
    """
    import torch
    from transformers.utils import logging

    from dialsum_trl.console import say

    dtype = getattr(torch, dtype)
    if model.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(model.device)
        needed = model.num_parameters() * dtype.itemsize
        if needed > free - total / 4:
            gib = f"{needed / 2**30:.1f} GiB of {dtype} weights, {free / 2**30:.1f} GiB of GPU memory free"
            say(f"the base stays quantized, which is slower: {gib}")
            return False
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns that dequantized weights are meant for merging adapters, as here
    model.dequantize(dtype)
    logging.set_verbosity(verbosity)
    return True


def generate_ids(
    model,
    prompts: list[list[int]],
    settings: GenerationSettings,
    stop_ids: list[int],
    pad_id: int,
    on_finish=lambda count: None,
) -> list[list[list[int]]]:
    """Continues each prompt.

    Args:
        model: a transformers or LoRA model on its device; its mode and its attention are put back afterwards.
        prompts: token ids (for an encoder-decoder: what the encoder reads).
        stop_ids: any of them ends a sequence.
        on_finish: called with the number of prompts that have just finished.

    Returns:
        For each prompt, in order, `num_return_sequences` id lists without the prompt and without the stop token; one
        with `max_new_tokens` ids was cut off.
    """
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"prompt {index} has no tokens")
    if not prompts:
        return []
    from dialsum_trl.decode import decoding

    if not decoding.can_decode(model):
        from dialsum_trl.decode.fallback import generate_with_transformers

        sequences = generate_with_transformers(model, prompts, settings, stop_ids, pad_id, on_finish)
    else:
        seeds = [[settings.seed, zlib.crc32(str(prompt).encode())] for prompt in prompts]
        sequences = decoding.decode(decoding.unwrapped(model), prompts, seeds, settings, stop_ids, pad_id, on_finish)
    return [[_cut(ids, stop_ids) for ids in candidates] for candidates in sequences]


def _cut(ids: list[int], stop_ids: list[int]) -> list[int]:
    return ids[: next((at for at, token in enumerate(ids) if token in stop_ids), len(ids))]


def summarize(
    summarizer: Summarizer,
    dialogues: list[str],
    settings: GenerationSettings | None = None,
    progress: bool = True,
    instruction: str = INSTRUCTIONS[0],
) -> list[Summary] | list[list[Summary]]:
    """Summarizes dialogues with the prompt that training uses.

    Returns:
        One `Summary` a dialogue in the order given; with `num_return_sequences` > 1 a list of them a dialogue.
    """
    from tqdm.auto import tqdm

    from dialsum_trl.console import is_main_process
    from dialsum_trl.models import stop_token_ids

    settings = settings or GenerationSettings()
    tokenizer = summarizer.tokenizer
    stop_ids = stop_token_ids(tokenizer)
    prompts = encode_prompts(summarizer, dialogues, settings, instruction)
    with tqdm(
        total=len(prompts), desc="summaries", unit="dialogue", disable=not (progress and is_main_process())
    ) as bar:
        if summarizer.vllm is not None:
            ids = summarizer.vllm.generate_ids(prompts, settings, stop_ids)
        else:
            ids = generate_ids(
                summarizer.model, prompts, settings, stop_ids, tokenizer.pad_token_id, on_finish=bar.update
            )
    summaries = [
        [
            Summary(text.strip(), len(sequence), len(sequence) == settings.max_new_tokens)
            for text, sequence in zip(
                tokenizer.batch_decode(candidates, skip_special_tokens=True), candidates, strict=True
            )
        ]
        for candidates in ids
    ]
    return summaries if settings.num_return_sequences > 1 else [candidates[0] for candidates in summaries]


def encode_prompts(
    summarizer: Summarizer, dialogues: list[str], settings: GenerationSettings, instruction: str = INSTRUCTIONS[0]
) -> list[list[int]]:
    """Token ids of each dialogue's prompt, over-long dialogues shortened to leave room for the summary."""
    from dialsum_trl.console import say
    from dialsum_trl.encoder_decoder import source_prefix
    from dialsum_trl.prompts import fit
    from dialsum_trl.text_pairs import fit_source

    tokenizer, budget = summarizer.tokenizer, settings.max_length - settings.max_new_tokens
    if summarizer.model is not None and summarizer.model.config.is_encoder_decoder:
        budget = settings.max_length  # the encoder's own: the summary is not in it
        prefix = source_prefix(summarizer.model.config)
        fitted = [fit_source(tokenizer, dialogue, budget, prefix) for dialogue in dialogues]
    else:
        fitted = [fit(tokenizer, dialogue, budget, instruction) for dialogue in dialogues]
    if shortened := sum(f.shortened for f in fitted):
        say(f"{shortened} of {len(dialogues)} dialogues lost middle turns to fit into {budget} prompt tokens")
    return [f.prompt_ids for f in fitted]
