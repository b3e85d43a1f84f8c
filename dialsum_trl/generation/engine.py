"""`generate_ids`: our decoding, or transformers' `generate`."""

from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.decoding import Model, can_decode, decode, unwrapped
from dialsum_trl.generation.fallback import generate_with_transformers
from dialsum_trl.generation.settings import GenerationSettings, Ids, OnFinish


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

    Raises:
        InputError: a prompt has no tokens.
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
