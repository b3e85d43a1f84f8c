"""Patterns of text that several files need: masks, heads of turns, Hangul, what no file can hold."""

import re

UNWRITABLE = re.compile("[\0\ud800-\udfff]")
INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
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
NUMBERED_MASK = re.compile(r"#[A-Za-z]+\d+#")
PERSON = re.compile(r"#Person\d+#")
TURN = re.compile(rf"[^\S\n]*({PERSON.pattern})[^\S\n]*[:：]", re.IGNORECASE)  # who speaks a turn, wherever it stands
OTHER_TURN = re.compile(  # who speaks it in another way, at the start of a line
    rf"^(?!{PERSON.pattern})#?[^\S\n]*(?:Person|사람)[^\S\n]*(\d+)[^\S\n]*#?[^\S\n]*[:：]", re.IGNORECASE | re.MULTILINE
)
SPOKEN = re.compile(r"\s*[^\s:：][^\n:：]{0,39}[:：]\s*\S")  # a line with its speaker: a mask, a name, an id
SYLLABLE = re.compile("[가-힣]")
