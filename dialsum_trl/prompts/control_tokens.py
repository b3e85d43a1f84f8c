"""No text of a user may spell a token that a chat template writes: a dialogue would end its own turn."""

import functools

from dialsum_trl.core.errors import InputError

SEPARATORS = (" ", "·", "-", "|")  # tried in turn: a normalizer may drop one


def neutralize(tokenizer, text: str) -> str:
    """Breaks control tokens that a dialogue spells out (`<|im_end|>`), so that a row cannot end its own turn.

    Where the tokenizer has a normalizer, also those that come out of it: wide forms (NFKC), `</S>` (lower case).

    Raises:
        InputError: nothing breaks them.
    """
    added = tokenizer.added_tokens_decoder
    control = {i: spelled for i, t in added.items() if t.special and not (spelled := t.content).startswith("#")}
    for spelled in control.values():
        if spelled in text:
            text = text.replace(spelled, f"{spelled[0]} {spelled[1:]}")
    if not tokenizer.is_fast or tokenizer.backend_tokenizer.normalizer is None:
        return text
    ids, letters = _reached(tokenizer, tuple(control))
    # whatever a normalizer does, a text without all letters of a token cannot become it: most are not encoded
    if not letters or not _has_all(letters, tokenizer.backend_tokenizer.normalizer.normalize_str(text)):
        return text
    return _break_normalized(tokenizer, text, ids)


@functools.lru_cache(maxsize=8)
def _reached(tokenizer, control: tuple[int, ...]) -> tuple[frozenset[int], list[frozenset[str]]]:
    """The ids of `control` that a normalized text can come to, and the sets of letters one of which it needs for it."""
    normalizer, model = tokenizer.backend_tokenizer.normalizer, tokenizer.backend_tokenizer.model
    tokens, forms = tokenizer.added_tokens_decoder, []
    for i in set(control) - {tokenizer.unk_token_id}:
        content = tokens[i].content
        if model.token_to_id(content) is not None:
            forms.append((i, content))
        if tokens[i].normalized:  # it is then looked for in its own normalized form
            forms.append((i, normalizer.normalize_str(content)))
    # without what a pre-tokenizer may add, and without tokens that are nothing but space
    forms = [(i, letters) for i, form in forms if (letters := frozenset(form.replace("▁", " ")) - set(" \t\n"))]
    needed = {letters for _, letters in forms}
    least = [letters for letters in needed if not any(other < letters for other in needed)]
    return frozenset(i for i, _ in forms), least


def _has_all(letters: list[frozenset[str]], text: str) -> bool:
    written = set(text)
    return any(some <= written for some in letters)


def _break_normalized(tokenizer, text: str, control: frozenset[int]) -> str:
    """Parts what the tokenizer reads as one of the ids `control`, until none is left."""
    for separator in (*SEPARATORS, None):
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
