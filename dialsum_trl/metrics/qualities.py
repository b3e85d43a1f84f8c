"""Qualities of a summary that need no model: length, masks, repetition, share of Hangul; each 0 to 1 per summary.

Their signatures are those of TRL's reward functions: completions, and columns of the rows by name.
"""

from collections.abc import Sequence

from dialsum_trl.data.patterns import ASCII_MASK, BROKEN_MASK, LETTER

Completions = Sequence[str | list[dict]]  # texts, or TRL's: a list with one message
LENGTH_BAND = (0.6, 1.4)  # of the references' mean length: no loss inside
LENGTH_LIMITS = (0.2, 2.0)  # nothing is earned outside


def texts(completions: Completions) -> list[str]:
    """The summaries in TRL's completions."""
    return [c if isinstance(c, str) else c[0]["content"] for c in completions]


def length_band(completions: Completions, summaries: Sequence[Sequence[str]], **kwargs) -> list[float]:
    """1 where the length in characters is 0.6 to 1.4 times the references' mean, falling to 0 at 0.2 and 2 times."""
    result = []
    for text, references in zip(texts(completions), summaries, strict=True):
        ratio = len(text.strip()) / (sum(map(len, references)) / len(references))
        if ratio < LENGTH_BAND[0]:
            inside = (ratio - LENGTH_LIMITS[0]) / (LENGTH_BAND[0] - LENGTH_LIMITS[0])
        elif ratio > LENGTH_BAND[1]:
            inside = (LENGTH_LIMITS[1] - ratio) / (LENGTH_LIMITS[1] - LENGTH_BAND[1])
        else:
            inside = 1.0
        result.append(max(0.0, inside))
    return result


def mask_fidelity(completions: Completions, dialogue: Sequence[str], **kwargs) -> list[float]:
    """Share of the summary's masks (`#Person1#`) that the dialogue holds; broken ones (`#Person1`) count as invented.

    A summary that names nobody of a masked dialogue gets 0; without any masks on both sides it is 1.
    """
    result = []
    for text, source in zip(texts(completions), dialogue, strict=True):
        known, named = set(ASCII_MASK.findall(source)), ASCII_MASK.findall(text)
        broken = len(BROKEN_MASK.findall(ASCII_MASK.sub(" ", text)))
        if not named and not broken:
            result.append(0.0 if known else 1.0)
        else:
            result.append(sum(mask in known for mask in named) / (len(named) + broken))
    return result


def no_repetition(completions: Completions, **kwargs) -> list[float]:
    """1 minus the share of word trigrams that occurred before in the summary; below three words: distinct words."""
    result = []
    for text in texts(completions):
        words = text.split()
        n = 3 if len(words) >= 3 else 1
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        result.append(len(set(grams)) / len(grams) if grams else 0.0)
    return result


def hangul_share(completions: Completions, **kwargs) -> list[float]:
    """Share of Hangul among the letters, masks left out (models leak Chinese or English words); 0 without letters."""
    result = []
    for text in texts(completions):
        letters = [c for c in ASCII_MASK.sub("", text) if c.isalpha()]
        result.append(sum(bool(LETTER.match(c)) for c in letters) / len(letters) if letters else 0.0)
    return result
