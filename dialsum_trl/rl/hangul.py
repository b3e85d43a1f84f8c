"""The final consonant of a syllable, and the one with which a word, a number or a mask is read aloud."""

import re

FINALS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")  # in the order of Unicode's syllables
FIRST, LAST = ord("가"), ord("힣")
DIGITS = dict(zip("0123456789", ("ㅇ", "ㄹ", "", "ㅁ", "", "", "ㄱ", "ㄹ", "ㄹ", ""), strict=True))  # 영 일 이 삼 ...
ZEROS = {1: "ㅂ", 2: "ㄱ", 3: "ㄴ"}  # 십 백 천; from four on 만, from eight on 억
SIGNS = {"kg": "ㅁ", "g": "ㅁ", "mg": "ㅁ"}  # the other signs end open: 퍼센트, 도, 미터, 리터
LETTERS = {"L": "ㄹ", "M": "ㅁ", "N": "ㄴ", "R": "ㄹ"}  # the other letters end open: 에이, 비, 씨
READ = re.compile(
    r"#[A-Za-z]+(?P<mask>\d+)#$|(?P<number>\d[\d,]*(?:\.\d+)?)$|(?<=[\d ])(?P<sign>%|℃|[kcm]?m|[km]?g|m?[lL])$"
    r"|(?<![A-Za-z])[A-Z]*(?P<letter>[A-Z])$"
)


def is_hangul(text: str) -> bool:
    """Whether every character is a whole syllable, and there is one."""
    return bool(text) and all(FIRST <= ord(character) <= LAST for character in text)


def final_of(word: str) -> str:
    """The final consonant of the last syllable, empty when it is open or no syllable."""
    return FINALS[(ord(word[-1]) - FIRST) % len(FINALS)] if is_hangul(word[-1:]) else ""


def with_final(word: str, final: str) -> str:
    """The word with another final consonant on its last syllable: `가`, `ㄴ` -> `간`."""
    return word[:-1] + chr(ord(word[-1]) - FINALS.index(final_of(word)) + FINALS.index(final))


def read_final(word: str) -> str | None:
    """The final consonant with which the word is read aloud: `책` ㄱ, `#Person1#` ㄹ (일), `20` ㅂ (이십), `KTX` none.

    Returns:
        The consonant, an empty string when the end is open, None when nobody can tell (`#Email#`, `Kim`).
    """
    word = word.rstrip("\"'”’」』")
    if is_hangul(word[-1:]):
        return final_of(word)
    found = READ.search(word)
    if not found:
        return None
    if found["sign"] or found["letter"]:
        return SIGNS.get(found["sign"], "") or LETTERS.get(found["letter"], "")
    whole, point, _ = (found["mask"] or found["number"]).replace(",", "").partition(".")
    zeros = len(whole) - len(whole.rstrip("0"))
    if point or not zeros or zeros == len(whole):
        return DIGITS[found[0].rstrip("#")[-1]]
    return ZEROS.get(zeros) or ("ㄴ" if zeros < 8 else "ㄱ" if zeros < 12 else "")
