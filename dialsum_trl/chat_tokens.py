"""The control tokens that chat templates write; where a base lacks some, SFT adds them and trains their rows."""

from pathlib import Path

from dialsum_trl.console import say
from dialsum_trl.errors import InputError
from dialsum_trl.share.weights import adapter_folder, check_adapter_files, trained_tokens

CHAT_TOKENS = {
    "llama3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
}


def family(tokenizer) -> str | None:
    """`"llama3"`, `"chatml"` or None, told by what the chat template writes."""
    template = tokenizer.chat_template or ""
    if "<|start_header_id|>" in template:
        return "llama3"
    return "chatml" if "<|im_start|>" in template else None


def missing_chat_tokens(tokenizer) -> list[str]:
    """Control tokens that the template writes and the vocabulary lacks as single tokens."""
    vocabulary = tokenizer.get_vocab()
    return [token for token in CHAT_TOKENS.get(family(tokenizer), ()) if token not in vocabulary]


def add_missing_chat_tokens(tokenizer) -> list[int]:
    """Adds the chat tokens that the template writes and the vocabulary lacks; returns their ids (mostly none)."""
    missing = missing_chat_tokens(tokenizer)
    if missing:
        tokenizer.add_special_tokens({"additional_special_tokens": missing})
        say(f"{tokenizer.name_or_path}: added the chat tokens {' '.join(missing)}, which its vocabulary lacked")
    return tokenizer.convert_tokens_to_ids(missing)


def add_tokens_of(tokenizer, adapter_path: str | Path) -> None:
    """Adds the chat tokens that an adapter was trained with to the tokenizer of its base.

    Raises:
        InputError: it was trained with other tokens that the base lacks.
    """
    folder = adapter_folder(adapter_path)
    last = max(trained_tokens(check_adapter_files(folder), folder), default=-1)
    if last >= len(tokenizer):
        add_missing_chat_tokens(tokenizer)
    if last >= len(tokenizer):
        raise InputError(
            f"--adapter_path {adapter_path}: was trained with added tokens that {tokenizer.name_or_path} lacks: leave "
            f"--prompt_style out, or `dialsum merge` it, which reads the tokenizer in its folder"
        )


def check_untied(config, name_or_path: str) -> None:
    """Raises InputError where an adapter cannot train rows of added tokens: the embedding table is the output layer.

    peft wraps both, and TRL's loss takes the output layer's own weights.

    Args:
        config: the base's, of transformers.
    """
    if config.get_text_config().tie_word_embeddings:
        raise InputError(
            f"{name_or_path}: its vocabulary lacks tokens of its chat template, and as its embeddings "
            f"are tied no adapter can train them: add --prompt_style instruction, or --use_peft false"
        )
