"""Unfaithful versions of a summary: one fact changed, the rest unchanged, so that only the fact differs."""

import random
import re

from dialsum_trl.data.patterns import MASK_PARTS

NUMBER = re.compile(r"(?<![#A-Za-z\d])(\d+)((?:[.,:]\d+)*)(?![\d#])")  # 3, 2,000, 10:30, 1.5
# Sentence endings and their negations; the first rule that fits is used.
NEGATIONS = (
    (r"하지 않기로 한다(?=[.,]|$)", "하기로 한다"),
    (r"하기로 한다(?=[.,]|$)", "하지 않기로 한다"),
    (r"하지 않(는다|았다)(?=[.,]|$)", "한다"),
    (r"할 수 없다(?=[.,]|$)", "할 수 있다"),
    (r"할 수 있다(?=[.,]|$)", "할 수 없다"),
    (r"없다(?=[.,]|$)", "있다"),
    (r"있다(?=[.,]|$)", "없다"),
    (r"했다(?=[.,]|$)", "하지 않았다"),
    (r"한다(?=[.,]|$)", "하지 않는다"),
)


def swap_speakers(text: str, draw: random.Random) -> str | None:
    """The first two speakers of the summary swapped; None if it names fewer."""
    speakers = list(dict.fromkeys(re.findall(r"#Person\d+#", text)))
    if len(speakers) < 2:
        return None
    exchange = dict(zip(speakers[:2], speakers[1::-1], strict=True))
    return re.sub("|".join(map(re.escape, exchange)), lambda match: exchange[match[0]], text)


def change_number(text: str, draw: random.Random) -> str | None:
    """One number becomes another of as many digits, its part before a separator a little more or less; None without."""
    found = list(NUMBER.finditer(text))
    if not found:
        return None
    match = draw.choice(found)
    first, rest = match.groups()
    digits = len(first)
    low = 0 if digits > 1 and first[0] == "0" else 10 ** (digits - 1)  # 05 stays a number with a zero before it
    other = draw.choice([n for n in (int(first) + step for step in (-3, -2, -1, 1, 2, 3)) if low <= n < 10**digits])
    return f"{text[: match.start()]}{other:0{digits}d}{rest}{text[match.end() :]}"


def change_mask(text: str, draw: random.Random) -> str | None:
    """One mask becomes another: one of four speakers whom the text lacks, an address for a phone number; else None."""
    found = list(MASK_PARTS.finditer(text))
    if not found:
        return None
    match = draw.choice(found)
    if match[1] == "Person":
        others = [f"#Person{n}#" for n in range(1, 5) if f"#Person{n}#" not in text]
    else:
        others = [m for m in ("#Address#", "#PhoneNumber#", "#Email#", "#CardNumber#") if m != match[0]]
    return f"{text[: match.start()]}{draw.choice(others)}{text[match.end() :]}" if others else None


def negate(text: str, draw: random.Random) -> str | None:
    """The last clause with a known ending is negated; None if there is none."""
    for pattern, opposite in NEGATIONS:
        found = list(re.finditer(pattern, text))
        if found:
            return f"{text[: found[-1].start()]}{opposite}{text[found[-1].end() :]}"
    return None


KINDS = {"speakers": swap_speakers, "number": change_number, "mask": change_mask, "negation": negate}


def negatives(text: str, draw: random.Random) -> list[tuple[str, str]]:
    """`(kind, unfaithful version)` for each kind that fits `text`, in drawn order."""
    kinds = list(KINDS)
    draw.shuffle(kinds)
    versions = [(kind, KINDS[kind](text, draw)) for kind in kinds]
    return [(kind, version) for kind, version in versions if version is not None and version != text]
