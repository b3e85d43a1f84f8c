"""`generate_ids`: our decoding, or transformers' `generate` for what `decoding` does not know."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import GenerationConfig
from transformers.utils import logging

from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.decoding import Model, can_decode, decode, unwrapped
from dialsum_trl.generation.settings import GenerationSettings, Ids, OnFinish
from dialsum_trl.models.encoder_decoder import start_only


def generate_ids(
    model: Model,
    prompts: list[Ids],
    settings: GenerationSettings,
    stop_ids: Ids,
    pad_id: int,
    on_finish: OnFinish = lambda count: None,
) -> list[list[Ids]]:
    """Continues each prompt.

    Args:
        model: a transformers or LoRA model on its device; its mode and its attention are put back afterwards.
        prompts: token ids (for an encoder-decoder: what the encoder reads).
        stop_ids: any of them ends a sequence.
        pad_id: fills batches up; never part of a result.
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

    if not can_decode(model):
        sequences = generate_with_transformers(model, prompts, settings, stop_ids, pad_id, on_finish)
    else:
        sequences = decode(unwrapped(model), prompts, settings, stop_ids, pad_id, on_finish)
    return [[_cut(ids, stop_ids) for ids in candidates] for candidates in sequences]


def _cut(ids: Ids, stop_ids: Ids) -> Ids:
    return ids[: next((at for at, token in enumerate(ids) if token in stop_ids), len(ids))]


@contextmanager
def asked_settings_only(model: Model) -> Iterator[None]:
    """Has `generate` follow its arguments alone: it would take what they leave open from the model's own config."""
    model = unwrapped(model)
    own = model.generation_config
    model.generation_config = start_only(own)
    try:
        yield
    finally:
        model.generation_config = own


def generate_with_transformers(
    model: Model, prompts: list[Ids], settings: GenerationSettings, stop_ids: Ids, pad_id: int, on_finish: OnFinish
) -> list[list[Ids]]:
    """Arguments and result as in `engine.generate_ids`; sequences are not yet cut at the stop token."""
    size = settings.batch_size or (8 if model.device.type == "cpu" else 64)
    encoder = model.config.is_encoder_decoder
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    results = [None] * len(prompts)
    sampling = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0} if settings.do_sample else {}
    beams = {"length_penalty": settings.length_penalty, "early_stopping": False} if settings.num_beams > 1 else {}
    config = GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        num_beams=settings.num_beams,
        do_sample=settings.do_sample,
        num_return_sequences=settings.num_return_sequences,
        no_repeat_ngram_size=settings.no_repeat_ngram_size,
        eos_token_id=stop_ids or None,
        pad_token_id=pad_id,
        **sampling,
        **beams,
    )
    training, verbosity = model.training, logging.get_verbosity()
    model.eval()
    logging.set_verbosity_error()  # it warns at every batch that max_new_tokens goes before a max_length of the model
    try:
        for start in range(0, len(order), size):
            part = order[start : start + size]
            longest = len(prompts[part[0]])
            ids = torch.full((len(part), longest), pad_id)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(part):
                # decoders continue at the right edge, encoders read from the left one
                inside = slice(0, len(prompts[i])) if encoder else slice(longest - len(prompts[i]), longest)
                ids[row, inside], mask[row, inside] = torch.tensor(prompts[i]), 1
            forked = torch.random.fork_rng(enabled=settings.do_sample)
            with torch.no_grad(), forked, asked_settings_only(model):
                torch.manual_seed(settings.seed + start)
                output = model.generate(
                    input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
                )
            output = output[:, 1 if encoder else longest :].tolist()  # without the decoder's start token or the prompt
            for row, i in enumerate(part):
                results[i] = output[row * settings.num_return_sequences : (row + 1) * settings.num_return_sequences]
            on_finish(len(part))
    finally:
        model.train(training)
        logging.set_verbosity(verbosity)
    return results
