"""The control tokens that chat templates write; where a base lacks some, SFT adds them and trains their rows."""

from pathlib import Path

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.models.families.registry import PADS, TEXT_ENDS, chat_of
from dialsum_trl.models.files import check_adapter_files, trained_tokens
from dialsum_trl.models.hub import adapter_folder


def missing_chat_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Control tokens that the template writes and the vocabulary lacks as single tokens."""
    chat, vocabulary = chat_of(tokenizer.chat_template), tokenizer.get_vocab()
    return [token for token in chat.tokens if token not in vocabulary] if chat else []


def add_missing_chat_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Adds the chat tokens that the template writes and the vocabulary lacks; returns their ids (mostly none)."""
    missing = missing_chat_tokens(tokenizer)
    if missing:
        tokenizer.add_special_tokens({"additional_special_tokens": missing})
        say(f"{tokenizer.name_or_path}: added the chat tokens {' '.join(missing)}, which its vocabulary lacked")
    return tokenizer.convert_tokens_to_ids(missing)


def add_tokens_of(tokenizer: PreTrainedTokenizerBase, adapter_path: str | Path) -> None:
    """Adds the chat tokens that an adapter was trained with to the tokenizer of its base.

    Raises:
        InputError: it was trained with other tokens that the base lacks.
    """
    folder = adapter_folder(adapter_path)
    last = max(trained_tokens(check_adapter_files(folder)), default=-1)
    if last >= len(tokenizer):
        add_missing_chat_tokens(tokenizer)
    if last >= len(tokenizer):
        raise InputError(
            f"--adapter_path {adapter_path}: was trained with added tokens that {tokenizer.name_or_path} lacks: leave "
            f"--prompt_style out, or `dialsum merge` it, which reads the tokenizer in its folder"
        )


def check_untied(config: PretrainedConfig, name_or_path: str) -> None:
    """Raises InputError where an adapter cannot train rows of added tokens: the embedding table is the output layer.

    peft wraps both, and TRL's loss takes the output layer's own weights.
    """
    if config.get_text_config().tie_word_embeddings:
        raise InputError(
            f"{name_or_path}: its vocabulary lacks tokens of its chat template, and as its embeddings "
            f"are tied no adapter can train them: add --prompt_style instruction, or --use_peft false"
        )


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that ends a summary: end of turn first, then end of text."""
    chat, vocabulary = chat_of(tokenizer.chat_template), tokenizer.get_vocab()
    names = [*([chat.turn_end] if chat else []), tokenizer.eos_token, *TEXT_ENDS]
    return list(dict.fromkeys(vocabulary[name] for name in names if name in vocabulary))


def choose_pad_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Sets a pad token that exists and ends nothing: never a new one, and eos only where there is no other.

    A new token would resize the embeddings and put them into every adapter (36 MB become 676, peft#2898).
    """
    if tokenizer.pad_token is not None and tokenizer.pad_token != tokenizer.eos_token:
        return
    chat, vocabulary = chat_of(tokenizer.chat_template), tokenizer.get_vocab()
    own, ends = (chat.pads, chat.turn_end) if chat else ((), None)
    candidates = [c for c in (*own, *PADS, "<|pad|>", tokenizer.unk_token) if c in vocabulary]
    candidates = [c for c in candidates if c not in (tokenizer.eos_token, ends)]
    tokenizer.pad_token = candidates[0] if candidates else tokenizer.eos_token
