"""Patterns that several files need: of masks, of Hangul, of what no file can hold."""

import re

UNWRITABLE = re.compile("[\0\ud800-\udfff]")
ASCII_MASK = re.compile(r"#[A-Za-z]+\d*#")
BROKEN_MASK = re.compile(r"#(?=\S)|(?<=\S)#")
LETTER = re.compile("[가-힣ㄱ-ㅣ]")  # syllables, single letters
MASK = re.compile(r"#(?:[A-Za-z]+|사람)\d*#")
HANGUL = re.compile("[가-힣\u1100-\u11ff]")  # syllables, and the jamo that decomposed ones are
KNOWN_MASKS = frozenset(
    {f"#Person{n}#" for n in range(1, 8)}
    | {
        "#PhoneNumber#",
        "#Address#",
        "#DateOfBirth#",
        "#PassportNumber#",
        "#SSN#",
        "#CardNumber#",
        "#CarNumber#",
        "#Email#",
    }
)
MASKS = tuple(sorted(KNOWN_MASKS))  # one token each instead of five or more
ANY_MASK = re.compile(r"#[^#\s]{1,20}#")
SPOKEN = re.compile(r"\s*[^\s:：][^\n:：]{0,39}[:：]\s*\S")  # a line with its speaker: a mask, a name, an id
SYLLABLE = re.compile("[가-힣]")
