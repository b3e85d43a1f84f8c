"""`generate_ids`: our decoding, or transformers' `generate`."""

import zlib

from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.decoding import can_decode, decode, unwrapped
from dialsum_trl.generation.fallback import generate_with_transformers
from dialsum_trl.generation.settings import GenerationSettings


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

    if not can_decode(model):
        sequences = generate_with_transformers(model, prompts, settings, stop_ids, pad_id, on_finish)
    else:
        seeds = [[settings.seed, zlib.crc32(str(prompt).encode())] for prompt in prompts]
        sequences = decode(unwrapped(model), prompts, seeds, settings, stop_ids, pad_id, on_finish)
    return [[_cut(ids, stop_ids) for ids in candidates] for candidates in sequences]


def _cut(ids: list[int], stop_ids: list[int]) -> list[int]:
    return ids[: next((at for at, token in enumerate(ids) if token in stop_ids), len(ids))]
