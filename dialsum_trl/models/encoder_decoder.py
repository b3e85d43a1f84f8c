"""Encoder-decoder families (BART, T5, mBART): where a summary starts, the language, the task prefix, the dtype."""

import torch
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.families.registry import family_of


def start_summaries_in(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, language: str | None) -> None:
    """Makes generation start as training does: the decoder's start token, and the language where there is one.

    Nothing else of the base's own generation settings stays (minimum lengths, penalties, beams for another task).
    """
    config = start_only(model.generation_config)
    if language:
        code, ids = tokenizer.convert_tokens_to_ids(language), tokenizer("").input_ids
        if ids[-1] == code:  # mBART-25 moves the last token of a target, its language, to the front
            config.decoder_start_token_id = code
        else:  # mBART-50 starts with the end token, then the language
            config.forced_bos_token_id = code
    if config.decoder_start_token_id is None:
        raise InputError(f"{model.config.name_or_path}: its configuration has no decoder_start_token_id")
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = config


def source_prefix(config: PretrainedConfig) -> str:
    """What T5 models of several tasks read before a text (`summarize: `); empty for others."""
    tasks = config.to_dict().get("task_specific_params") or {}
    return tasks.get("summarization", {}).get("prefix", "")


def set_source_prefix(config: PretrainedConfig, prefix: str | None) -> str:
    """Puts `prefix` where T5's own configurations have it, so that it is saved with the model; None keeps theirs."""
    if prefix is not None:
        tasks = config.to_dict().get("task_specific_params") or {}
        config.task_specific_params = {**tasks, "summarization": {**tasks.get("summarization", {}), "prefix": prefix}}
    return source_prefix(config)


def check_precision(config: PretrainedConfig, dtype: str) -> None:
    """Raises InputError for float16 where activations of the family overflow in it."""
    family = family_of(config.model_type)
    if dtype == "float16" and family and not family.float16:
        raise InputError(
            f"--dtype float16: {config.name_or_path} is a {family.name}, which overflows there; use bfloat16 "
            f"(GPUs since Ampere) or float32"
        )


def start_only(own: GenerationConfig) -> GenerationConfig:
    """A generation config with what starts a text in `own`, and nothing else of it.

    A model may bring minimum lengths, penalties, banned or forced tokens and beams that are meant for another task.
    """
    return GenerationConfig(
        decoder_start_token_id=own.decoder_start_token_id,
        forced_bos_token_id=own.forced_bos_token_id,
        bos_token_id=own.bos_token_id,
    )


def start_from_pieces(model: PreTrainedModel, pieces: dict[int, list[int]]) -> None:
    """Sets the embedding of each new token to the mean of what it had been split into."""
    tables = {id(table.weight): table.weight for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for weight in tables.values():
            for new, old in pieces.items():
                weight[new] = weight[old].mean(0)
