"""Summaries from a model: settings, loading for inference, one function that every stage generates with.

Families with slot decoding go through `decoding` (slots, captured steps); all others, encoder-decoders included,
through transformers' `generate`. Both give the same tokens for greedy decoding and beam search.
"""

from tqdm.auto import tqdm

from dialsum_trl.core.console import is_main_process, say
from dialsum_trl.generation.engine import generate_ids
from dialsum_trl.generation.settings import GenerationSettings, Summary
from dialsum_trl.generation.summarizer import Summarizer
from dialsum_trl.models.encoder_decoder import source_prefix
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import fit, prompt_texts
from dialsum_trl.prompts.text_pairs import fit_source


def summarize(
    summarizer: Summarizer,
    dialogues: list[str],
    settings: GenerationSettings | None = None,
    progress: bool = True,
    instruction: str | None = None,
    topics: list[str | None] | None = None,
) -> list[Summary] | list[list[Summary]]:
    """Summarizes dialogues with the prompt that training uses.

    Args:
        instruction: default: the first that the model was trained with.
        topics: one per dialogue, for a prompt with `{topic}`.

    Returns:
        One `Summary` per dialogue in the order given; with `num_return_sequences` > 1 a list of them per dialogue.
    """
    settings = settings or GenerationSettings()
    tokenizer = summarizer.tokenizer
    stop_ids, texts = stop_token_ids(tokenizer), prompt_texts(tokenizer)
    prompts = encode_prompts(summarizer, dialogues, settings, instruction, topics)
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
            Summary(texts.with_ids(dialogue, text.strip()), len(sequence), len(sequence) == settings.max_new_tokens)
            for text, sequence in zip(
                tokenizer.batch_decode(candidates, skip_special_tokens=True), candidates, strict=True
            )
        ]
        for dialogue, candidates in zip(dialogues, ids, strict=True)
    ]
    return summaries if settings.num_return_sequences > 1 else [candidates[0] for candidates in summaries]


def encode_prompts(
    summarizer: Summarizer,
    dialogues: list[str],
    settings: GenerationSettings,
    instruction: str | None = None,
    topics: list[str | None] | None = None,
) -> list[list[int]]:
    """Token ids of each dialogue's prompt, long dialogues shortened so that the summary fits."""
    tokenizer, budget = summarizer.tokenizer, settings.max_length - settings.max_new_tokens
    if summarizer.model is not None and summarizer.model.config.is_encoder_decoder:
        budget = settings.max_length  # the encoder's own: the summary is not in it
        prefix = source_prefix(summarizer.model.config)
        fitted = [fit_source(tokenizer, dialogue, budget, prefix) for dialogue in dialogues]
    else:
        pairs = zip(dialogues, topics or [None] * len(dialogues), strict=True)
        fitted = [fit(tokenizer, dialogue, budget, instruction, topic) for dialogue, topic in pairs]
    if shortened := sum(f.shortened for f in fitted):
        say(f"{shortened} of {len(dialogues)} dialogues lost middle turns to fit into {budget} prompt tokens")
    return [f.prompt_ids for f in fitted]
