"""No text of a user may spell a token that a chat template writes: a dialogue would end its own turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dialsum_trl.core.errors import InputError

if TYPE_CHECKING:  # `dialsum check` comes through here without transformers
    from transformers import PreTrainedTokenizerBase

SEPARATORS = (" ", "·", "-", "|")  # tried in turn: a normalizer may drop one


def neutralize(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Breaks control tokens that a dialogue spells out (`<|im_end|>`), so that a row cannot end its own turn.

    Where the tokenizer has a normalizer, also those that come out of it: wide forms (NFKC), `</S>` (lower case).

    Raises:
        InputError: nothing breaks them.
    """
    added = tokenizer.added_tokens_decoder
    control = {i: token.content for i, token in added.items() if token.special and not token.content.startswith("#")}
    for spelled in control.values():
        if spelled in text:
            text = text.replace(spelled, f"{spelled[0]} {spelled[1:]}")
    if not tokenizer.is_fast or (normalizer := tokenizer.backend_tokenizer.normalizer) is None:
        return text
    control.pop(tokenizer.unk_token_id, None)  # any letter that the vocabulary lacks
    forms = {form for spelled in control.values() for form in (spelled, normalizer.normalize_str(spelled))}
    for separator in (*SEPARATORS, None):
        normalized = normalizer.normalize_str(text)
        if not any(form in normalized for form in forms):  # most texts need not be encoded
            return text
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        places = [place for i, place in zip(encoded.input_ids, encoded.offset_mapping, strict=True) if i in control]
        if not places:
            return text
        if separator is None:
            break
        for start, end in reversed(places):
            piece = text[start:end]
            text = text[:start] + (f"{piece[0]}{separator}{piece[1:]}" if len(piece) > 1 else "?") + text[end:]
    spelled = text[slice(*places[0])]
    raise InputError(f"{tokenizer.name_or_path}: its tokenizer reads {spelled!r} of a text as a control token")
