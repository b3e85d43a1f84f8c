"""Samples of a model, kept in a folder: what preferences and distillation are made from."""

import gc
from pathlib import Path

import torch
from datasets import Dataset

from dialsum_trl.core.console import is_main_process
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.core.settings.flags import DecodingArguments, ModelArguments, PromptArguments
from dialsum_trl.generation import sharded as inference
from dialsum_trl.generation.samples import SAMPLES_FILE, SETTINGS_FILE, check_settings, read_samples, sample_rows
from dialsum_trl.prompts.tokenizer import tokenizer_of


def kept_samples(
    rows: Dataset,
    folder: Path,
    count: int,
    max_length: int,
    use_cpu: bool,
    model_args: ModelArguments,
    prompt: PromptArguments,
    decoding: DecodingArguments,
) -> list[list[str]]:
    """`count` samples of each row, in the order of the rows; those that `folder` holds are not drawn again.

    Raises:
        InputError: it holds samples of other rows, of another model, or drawn with other settings.
    """
    drawn = {name: getattr(decoding, name) for name in ("temperature", "top_p", "max_new_tokens", "seed")}
    drawn |= {"samples": count, "max_length": max_length}
    read_samples(folder / SAMPLES_FILE)  # before anything is written or loaded
    drawn |= inference.identity(model_args, decoding, tokenizer_of(model_args, prompt))
    if is_main_process():
        sole_writer(folder)
    check_settings(folder / SETTINGS_FILE, drawn)
    done = read_samples(folder / SAMPLES_FILE, dict(zip(rows["fname"], rows["dialogue"], strict=True)))
    if len(done) < len(rows):
        state = inference.start(use_cpu)
        summarizer = inference.load(model_args, prompt, decoding, state.device)
        settings = inference.generation_settings(decoding, max_length, count)
        done = sample_rows(rows, done, summarizer, settings, state, folder / SAMPLES_FILE)
        del summarizer
        free_memory()
    return [done[fname] for fname in rows["fname"]]


def free_memory() -> None:
    """Gives back what a model that is no longer used held, before the next one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
