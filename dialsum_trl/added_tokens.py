"""Adapters on a base whose vocabulary lacks tokens of its chat template: SFT adds them and trains their rows."""

from pathlib import Path

from dialsum_trl.errors import InputError
from dialsum_trl.models import add_missing_chat_tokens, load_config
from dialsum_trl.share.weights import adapter_folder, check_adapter_files, trained_tokens


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


def check_untied(model_args) -> None:
    """Raises InputError where an adapter cannot train rows of added tokens: the embedding table is the output layer.

    peft wraps both, and TRL's loss takes the output layer's own weights.
    """
    config = load_config(model_args.model_name_or_path, model_args.model_revision, model_args.trust_remote_code)
    if config.get_text_config().tie_word_embeddings:
        raise InputError(
            f"{model_args.model_name_or_path}: its vocabulary lacks tokens of its chat template, and as its embeddings "
            f"are tied no adapter can train them: add --prompt_style instruction, or --use_peft false"
        )
