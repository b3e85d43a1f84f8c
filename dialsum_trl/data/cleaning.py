"""Cleaning of dialogues: what exports and web pages left in them. References are never cleaned."""

import re
import unicodedata
from contextlib import suppress
from itertools import product

from dialsum_trl.data.patterns import INVISIBLE, OTHER_TURN, SYLLABLE, TURN, UNWRITABLE

_BREAK = re.compile(
    r"\\r\\n|\\n|\\r|<[^\S\n]*/?[^\S\n]*br[^\S\n]*/?[^\S\n]*>|\r\n|\r|[\v\f\x85\u2028\u2029]", re.IGNORECASE
)
_SPACES = re.compile(r"[^\S\n]+")
_BLANK = re.compile("[\\s\u00ad\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u3164\ufeff\uffa0]*")
_PLACEHOLDER = re.compile(  # as pandas, Excel, databases and people write them; or no letter and no digit at all
    r"\W*(?:nan|nat|none|null|nil|undefined|n[./]?a\.?|tbd|todo|value!|ref!|name\?|div/0!|num!"
    r"|없음|해당 ?없음|미정|결측|[\W_ㅡ]+)\W*|\\n",
    re.IGNORECASE,
)
LOST_LETTER = "\ufffd"
_WORD = re.compile(r"[\W_]+")


def clean_dialogue(text: str) -> str:
    """One turn a line: `#Person1#: ...`. Cleaning a clean dialogue changes nothing.

    Literal `\\n`, `<br>`, CR and Unicode line separators become line breaks; runs of spaces one space; invisible
    characters go; Hangul is composed (NFC, files from macOS come decomposed); a turn head in the middle of a line
    starts a new one; `Person1:` and `#사람1#:` at the start of a line become `#Person1#:`; empty lines go.
    """
    text = unicodedata.normalize("NFC", INVISIBLE.sub("", text))
    text = _SPACES.sub(" ", _BREAK.sub("\n", text))
    text = re.sub(r" ?\n ?", "\n", text).strip()
    text = OTHER_TURN.sub(r"#Person\1#:", text)
    text = TURN.sub(lambda head: f"\n#Person{head[1][7:-1]}#: ", text)
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def unwritable(text: str) -> bool:
    """Whether it holds a NUL or half a surrogate pair, which no file of rows can hold and be read again."""
    return bool(UNWRITABLE.search(text))


def blank(text: str) -> bool:
    """Whether nobody would see anything: spaces, zero-width characters, Hangul fillers."""
    return bool(_BLANK.fullmatch(text))


def oddity(text: str) -> str | None:
    """What a cell holds in the place of a text, as the end of "rows whose dialogue ..."; None for a text."""
    if not blank(text) and _PLACEHOLDER.fullmatch(text):
        return "is a placeholder (nan, null, N/A, 없음, -, #VALUE!), not a text"
    if LOST_LETTER in text:
        return "holds U+FFFD, a letter lost in a conversion; export the file again as UTF-8"
    if _misread(text):
        return "is Korean read in a Western encoding (ì•ˆë…• for 안녕); export the file again as UTF-8"
    return None


def _misread(text: str) -> bool:
    """Whether the bytes of a Western encoding are Korean in UTF-8 or CP949: no Western text is by chance."""
    for western, korean in product(("latin-1", "cp1252"), ("utf-8", "cp949")):
        with suppress(UnicodeError):
            if len(SYLLABLE.findall(text.encode(western).decode(korean))) > 2:
                return True
    return False


def normalized(text: str) -> str:
    """Letters and digits only, without case: equal for two texts that a reader would call the same."""
    return _WORD.sub("", unicodedata.normalize("NFKC", text).casefold())
