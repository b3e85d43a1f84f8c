"""Particles that follow the sound before them: 은/는, 이/가, 을/를, 과/와, 으로/로, 이랑/랑, 이나/나 and the copula."""

import re

from dialsum_trl.data.patterns import NUMBERED_MASK
from dialsum_trl.rl.hangul import read_final

END = r"(?![가-힣])"  # no more of the word
# What stands after a name: (pattern, form after a consonant, form after a vowel). A pattern has either form and looks
# at what may follow it: 이 is a particle before a space, and a part of 이랑 or 이나 before those.
PARTICLES = tuple(
    (re.compile(f"(?:{closed}|{open_})(?={rest})"), closed, open_)
    for closed, open_, rest in (
        ("은", "는", rf"{END}|커녕|요{END}"),
        ("이", "가", END),
        ("을", "를", END),
        ("과", "와", rf"(?:의|는|도|만)?{END}"),
        ("으로", "로", rf"(?:부터|서|써)?(?:는|도|만|의|까지)?{END}"),
        ("이랑", "랑", rf"(?:은|는|도|만|의)?{END}"),
        ("이나", "나", rf"(?:마)?{END}"),
        ("이든", "든", rf"(?:지|가)?{END}"),
        ("이라", "라", rf"(?:고|는|며|면|면서|서|도|던|니|든지|던데)?(?:는|도|요)?{END}"),
        ("이란", "란", END),
        ("이었", "였", r"[가-힣]"),
        ("이에요", "예요", END),
        ("이어서", "여서", END),
        ("이야", "야", rf"말로{END}|{END}(?![,!])"),
        ("아", "야", r"[,!]"),
        ("이여", "여", END),
    )
)
# 이다, 이고 and the like may keep their 이 after a vowel (의사이다, 의사다), and need it after a consonant
COPULA = re.compile(rf"(?:다|고|며|면|니|니까|지만|자){END}")
SPACED = re.compile(rf" (?:은|는|이|가|을|를|과|와|으로|로){END}")


def follow(name: str, after: str) -> str | None:
    """`after`, the text after a name, with its first particle in the form that `name` asks for.

    `("#Person2#", "은 간다")` -> `는 간다`; None when nobody can tell how the name is read and it matters.
    """
    final = read_final(name)
    if name.endswith("#") and SPACED.match(after):  # a byte-level model writes `#Person1# 은`
        apart = follow(name, after[1:])
        return None if apart is None else f" {apart}"
    for pattern, closed, opened in PARTICLES:
        if match := pattern.match(after):
            if final is None:
                return None
            right = opened if final == "" or (closed == "으로" and final == "ㄹ") else closed
            return right + after[match.end() :]
    if COPULA.match(after):
        return None if final is None else after if final == "" else f"이{after}"
    return after


def replace(text: str, start: int, end: int, new: str) -> str | None:
    """`text` with `new` in the place from `start` to `end`, and the particle after it as `new` asks for."""
    after = follow(new, text[end:])
    return None if after is None else text[:start] + new + after


def rename(text: str, names: dict[str, str]) -> str | None:
    """Every name of `names` becomes the other one of its entry, with the particle that the new one asks for."""
    places = list(re.finditer("|".join(map(re.escape, sorted(names, key=len, reverse=True))), text))
    for place in reversed(places):
        text = replace(text, place.start(), place.end(), names[place[0]])
        if text is None:
            return None
    return text


def wrong_particle(text: str) -> str | None:
    """The first numbered mask whose particle has the other form, with that particle; None when all are right."""
    for mask in NUMBERED_MASK.finditer(text):
        after = text[mask.end() :]
        if follow(mask[0], after) != after:
            return mask[0] + after[:4]
    return None
