"""Syllables taken apart and put together, and the final consonant with which a word, a number or a mask is read."""

import re

LEADS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
FINALS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
FIRST, LAST = ord("가"), ord("힣")

DIGITS = dict(zip("0123456789", ("ㅇ", "ㄹ", "", "ㅁ", "", "", "ㄱ", "ㄹ", "ㄹ", ""), strict=True))  # 영 일 이 삼 ...
ZEROS = {1: "ㅂ", 2: "ㄱ", 3: "ㄴ"}  # 십 백 천; from four on 만, from eight on 억
SIGNS = {"%": "", "℃": "", "kg": "ㅁ", "g": "ㅁ", "mg": "ㅁ", "km": "", "m": "", "cm": "", "mm": "", "L": "", "ml": ""}
LETTERS = {"L": "ㄹ", "M": "ㅁ", "N": "ㄴ", "R": "ㄹ"}  # the other letters are read with an open end: 에이, 비, 씨
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?$")
SIGN = re.compile(r"(?<=[\d ])(?:%|℃|[kcm]?m|[km]?g|m?[lL])$")
ACRONYM = re.compile(r"(?<![A-Za-z])[A-Z]+$")
NUMBERED_MASK = re.compile(r"#[A-Za-z]+(\d+)#$")


def words(text: str) -> tuple[str, ...]:
    """The words of a text, for tables that read better without quotes."""
    return tuple(text.split())


def parts(syllable: str) -> tuple[str, str, str]:
    """`한` -> `ㅎ`, `ㅏ`, `ㄴ`; raises ValueError when it is no syllable."""
    if not FIRST <= ord(syllable) <= LAST:
        raise ValueError(f"{syllable!r} is no syllable of Hangul")
    rest, final = divmod(ord(syllable) - FIRST, len(FINALS))
    lead, vowel = divmod(rest, len(VOWELS))
    return LEADS[lead], VOWELS[vowel], FINALS[final]


def syllable(lead: str, vowel: str, final: str = "") -> str:
    """`ㅎ`, `ㅏ`, `ㄴ` -> `한`."""
    rest = LEADS.index(lead) * len(VOWELS) + VOWELS.index(vowel)
    return chr(FIRST + rest * len(FINALS) + FINALS.index(final))


def is_hangul(text: str) -> bool:
    """Whether every character is a whole syllable, and there is one."""
    return bool(text) and all(FIRST <= ord(character) <= LAST for character in text)


def final_of(word: str) -> str:
    """The final consonant of the last syllable, empty when it is open or no syllable."""
    return parts(word[-1])[2] if is_hangul(word[-1:]) else ""


def vowel_of(word: str) -> str:
    """The vowel of the last syllable, empty when it is no syllable."""
    return parts(word[-1])[1] if is_hangul(word[-1:]) else ""


def with_final(word: str, final: str) -> str:
    """The word with another final consonant on its last syllable: `가`, `ㄴ` -> `간`."""
    lead, vowel, _ = parts(word[-1])
    return word[:-1] + syllable(lead, vowel, final)


def read_final(word: str) -> str | None:
    """The final consonant with which the word is read aloud: `책` ㄱ, `#Person1#` ㄹ (일), `20` ㅂ (이십), `KTX` none.

    Returns:
        The consonant, an empty string when the end is open, None when nobody can tell (`#Email#`, `Kim`).
    """
    word = word.rstrip("\"'”’」』")
    if is_hangul(word[-1:]):
        return final_of(word)
    if mask := NUMBERED_MASK.search(word):
        return _number_final(mask[1])
    if number := NUMBER.search(word):
        return _number_final(number[0])
    if sign := SIGN.search(word):
        return SIGNS.get(sign[0])
    if acronym := ACRONYM.search(word):
        return LETTERS.get(acronym[0][-1], "")
    return None


def _number_final(number: str) -> str:
    whole, point, _ = number.replace(",", "").partition(".")
    last = number[-1]
    if point or last != "0" or not whole.strip("0"):
        return DIGITS[last]
    zeros = len(whole) - len(whole.rstrip("0"))
    return ZEROS.get(zeros) or ("ㄴ" if zeros < 8 else "ㄱ" if zeros < 12 else "")
