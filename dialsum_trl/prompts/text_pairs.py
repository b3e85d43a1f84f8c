"""Rows for encoder-decoder models: the dialogue is what the encoder reads, the summary what the decoder writes.

Training and inference encode a dialogue with the same `fit_source`. Some tokenizers (KoBART's) put no end token after
a text; both sides get one here.
"""

from collections.abc import Iterable

from datasets import Dataset
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.patterns import MASKS
from dialsum_trl.prompts.control_tokens import neutralize
from dialsum_trl.prompts.sft_rows import FitReport
from dialsum_trl.prompts.shortening import Fitted, shorten


def add_mask_tokens(tokenizer: PreTrainedTokenizerBase, masks: Iterable[str] = MASKS) -> dict[int, list[int]]:
    """Makes each mask one token that is never split.

    They are not flagged special: `skip_special_tokens` would take the speakers out of every summary.

    Returns:
        For each new id, the ids that the mask had been split into.
    """
    vocabulary = tokenizer.get_vocab()
    new = [mask for mask in masks if mask not in vocabulary]
    pieces = [tokenizer(mask, add_special_tokens=False).input_ids for mask in new]
    tokenizer.add_tokens([AddedToken(mask, special=False, normalized=False) for mask in new])
    return dict(zip(tokenizer.convert_tokens_to_ids(new), pieces, strict=True))


def _ended(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    return ids if tokenizer.eos_token_id in ids[-2:] else [*ids, tokenizer.eos_token_id]


def fit_source(tokenizer: PreTrainedTokenizerBase, dialogue: str, max_length: int, prefix: str = "") -> Fitted:
    """The dialogue as the encoder reads it, at most `max_length` tokens; an over-long one loses middle turns."""

    def encode(text: str) -> list[int]:
        return _ended(tokenizer, tokenizer(prefix + text).input_ids)

    return shorten(tokenizer, neutralize(tokenizer, dialogue), encode, max_length)


def encode_target(tokenizer: PreTrainedTokenizerBase, summary: str, max_length: int) -> list[int]:
    """The summary as the decoder is to write it, its end token included."""
    ids = _ended(tokenizer, tokenizer(text_target=neutralize(tokenizer, summary.strip())).input_ids)
    if len(ids) > max_length:
        raise InputError(f"the summary has {len(ids)} tokens, more than --max_target_length {max_length}: raise it")
    return ids


def encode_text_pairs(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_source_length: int,
    max_target_length: int,
    prefix: str = "",
) -> tuple[Dataset, FitReport]:
    """Encodes every row of `data.read_dialogues`; `prefix` is put before each dialogue.

    Returns:
        A Dataset with `input_ids` and `labels`, and the `FitReport`.
    """
    report = FitReport()
    encoded = {"input_ids": [], "labels": []}
    for row in dataset:
        try:
            fitted = fit_source(tokenizer, row["dialogue"], max_source_length, prefix)
            labels = encode_target(tokenizer, row["summaries"][0], max_target_length)
        except InputError as error:
            raise InputError(f"row {row['fname']}: {error}") from None
        encoded["input_ids"].append(fitted.prompt_ids)
        encoded["labels"].append(labels)
        whole = len(tokenizer(prefix + row["dialogue"]).input_ids) if fitted.shortened else len(fitted.prompt_ids)
        report.add(fitted, whole)
    return Dataset.from_dict(encoded), report
