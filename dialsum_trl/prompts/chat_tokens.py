"""The control tokens that chat templates write; where a base lacks some, SFT adds them and trains their rows."""

from itertools import takewhile
from pathlib import Path

from transformers import PretrainedConfig, PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.families.registry import PADS, TEXT_ENDS, chat_of
from dialsum_trl.models.files import check_adapter_files, trained_tokens
from dialsum_trl.models.hub import adapter_folder, hub_file
from dialsum_trl.prompts.prompt import apply_template, prompt_messages


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
    """Adds the chat tokens that an adapter was trained with to the tokenizer of its base."""
    folder = adapter_folder(adapter_path)
    last = max(trained_tokens(check_adapter_files(folder)), default=-1)
    if last >= len(tokenizer):
        add_missing_chat_tokens(tokenizer)
    if last >= len(tokenizer):
        raise InputError(
            f"--adapter_path {adapter_path}: was trained with added tokens that {tokenizer.name_or_path} lacks: put "
            f"its tokenizer into the adapter's folder (tokenizer.json, tokenizer_config.json), or leave --prompt_style "
            f"out"
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


def control_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of tokens that no text is split into: special tokens and added ones."""
    return {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}


def turn_end_of_template(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The control token that the chat template writes right after an assistant's turn; None where it writes none."""
    texts = []
    for content in ("가", "나"):  # what follows the content is the same for both, and the contents differ
        turns = [*prompt_messages(""), {"role": "assistant", "content": content}]
        texts.append(apply_template(tokenizer, turns, generation=False)[1][::-1])
    same = takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False))
    after = "".join(pair[0] for pair in same)[::-1].lstrip()
    first = tokenizer(after, add_special_tokens=False, verbose=False).input_ids[:1] if after else []
    return next((token for token in first if token in control_ids(tokenizer)), None)


def read_generation_ends(tokenizer: PreTrainedTokenizerBase, name_or_path: str, revision: str = "main") -> None:
    """Keeps the end tokens of a model's generation_config.json on its tokenizer, for `stop_token_ids`.

    Ids of ordinary text (a library's default that the model's maker did not change) are left out, which a line says.
    """
    path = hub_file(name_or_path, GENERATION_CONFIG_NAME, revision)
    ends = read_json(path, "get the model again").get("eos_token_id") if path else None
    ends = [ends] if isinstance(ends, int) else ends if isinstance(ends, list) else []
    control = control_ids(tokenizer)
    if text := [each for each in ends if each not in control]:
        say(
            f"{name_or_path}: {GENERATION_CONFIG_NAME} has {text} as eos_token_id, which no control token of its "
            f"tokenizer is: not taken for the end of a summary"
        )
    tokenizer.generation_ends = [each for each in ends if each in control]


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that ends a summary: the template's end of turn first, then ends of text, then the model's own ends.

    The last are those of its generation_config.json, which `load_tokenizer` has read.
    """
    chat, vocabulary = chat_of(tokenizer.chat_template), tokenizer.get_vocab()
    names = [*([chat.turn_end] if chat else []), tokenizer.eos_token, *TEXT_ENDS]
    turn_end = turn_end_of_template(tokenizer) if tokenizer.chat_template else None
    found = [turn_end, *(vocabulary.get(name) for name in names), *getattr(tokenizer, "generation_ends", ())]
    return list(dict.fromkeys(token for token in found if token is not None))


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
