"""Rules that repair summaries.

A rule takes a summary and its dialogue (None where it is not known) and returns the summary, changed or not.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.cleaning import normalized
from dialsum_trl.data.patterns import MASK
from dialsum_trl.data.tables import closest

_ABBREVIATION = r"(?<![^A-Za-z][A-Za-z]\.)(?<![DMJS][rs]\.)(?<!Mrs\.)(?<!Prof\.)"  # not after: p.m. Dr. Ms. Jr.
_SENTENCE_END = re.compile(rf"(?<=[.!?。…]){_ABBREVIATION}[\"'”’)\]]*(?=\s|$)|(?<=[다요]\.)(?=[가-힣#])")
_FINISHED = re.compile(r"([.!?。…]|[다요음함임됨])[\"'”’)\]]*$")
_LABEL = re.compile(r"^\W*(?:대화\s*)?(?:요약(?:문)?|summary|response)\W*[:：]\s*(?:\*\*|__)?\s*", re.IGNORECASE)
# particles that are written without a space after a word; 이 and 만 are left out because they are words too
_PARTICLE = r"(?:은|는|가|을|를|에게|에게서|와|과|의|도|로|으로|께|한테)"


def strip(text: str, dialogue: str | None = None) -> str:
    """No spaces around the summary and single ones inside its lines."""
    return "\n".join(" ".join(line.split()) for line in text.strip().split("\n"))


def first_paragraph(text: str, dialogue: str | None = None) -> str:
    """The first paragraph on one line; a paragraph that only announces one (`요약:`) is passed over."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    body = [part for part in paragraphs if not part.endswith((":", "："))] or paragraphs
    return " ".join(body[0].split()) if body else text


def label(text: str, dialogue: str | None = None) -> str:
    """Without a leading `요약:` or `Summary:`."""
    text = text.lstrip()
    while found := _LABEL.match(text):
        text = text[found.end() :]
    return text


def unfinished_sentence(text: str, dialogue: str | None = None) -> str:
    """Without a last sentence that the token limit cut off, if a finished one precedes it."""
    sentences = _sentences(text)
    if len(sentences) < 2 or _FINISHED.search(sentences[-1]):
        return text
    return " ".join(sentences[:-1])


def repeated_sentences(text: str, dialogue: str | None = None) -> str:
    """Each sentence once, at its first place."""
    sentences = _sentences(text)
    first: dict[str, str] = {}
    for sentence in sentences:
        first.setdefault(normalized(sentence), sentence)
    return text if len(first) == len(sentences) else " ".join(first.values())


def masks(text: str, dialogue: str | None = None) -> str:
    """Masks as the dialogue writes them: `# Person 1 #`, `#person1`, `Person1#`, `#사람1#` -> `#Person1#`.

    Only masks of the dialogue are restored, so no speaker is invented; without a dialogue nothing changes.
    A separated particle is joined to its mask (`#Person1# 은` -> `#Person1#은`).
    """
    known = {mask.lower(): mask for mask in reversed(MASK.findall(dialogue or ""))}
    if not known:
        return text
    pieces, end = [], 0
    for whole in MASK.finditer(text):  # whole masks are set apart, so that no restored mask takes a # of a neighbour
        pieces.append(_restore_masks(text[end : whole.start()], known))
        pieces.append(known.get(whole[0].lower().replace("사람", "person"), whole[0]))
        end = whole.end()
    restored = "".join([*pieces, _restore_masks(text[end:], known)])
    attach = rf"({'|'.join(map(re.escape, known.values()))})[ ]+(?={_PARTICLE}(?![가-힣]))"
    restored = re.sub(attach, r"\1", restored)
    invented = set(MASK.findall(restored)) - set(known.values()) - set(MASK.findall(text))
    return text if invented else restored  # odd hashes around a restored mask can read as another one


def broken_characters(text: str, dialogue: str | None = None) -> str:
    """Without replacement characters, which stand for incomplete characters of a byte-level vocabulary."""
    return re.sub(" ?\ufffd+", "", text)


def foreign_script(text: str, dialogue: str | None = None) -> str:
    """Without letters of other scripts (Chinese characters, kana, Cyrillic ...) that the dialogue does not use.

    Hangul and Latin stay, and with them names; brackets that were left empty go.
    """
    allowed = set(dialogue or "")
    foreign = {char for char in text if char not in allowed and _is_foreign(char)}
    if not foreign:
        return text
    kept = "".join("" if char in foreign else char for char in text)
    kept = re.sub(r"[(（\[]\s*[)）\]]", "", kept)
    return re.sub(r" +(?=[.,!?])", "", re.sub(r" {2,}", " ", kept)).strip()


RULES: dict[str, Callable[[str, str | None], str]] = {
    rule.__name__: rule
    for rule in (
        strip,
        first_paragraph,
        label,
        broken_characters,
        foreign_script,
        masks,
        repeated_sentences,
        unfinished_sentence,
    )
}


def check_rules(names: Iterable[str]) -> list[str]:
    """The rules of these names in the order in which they are applied."""
    chosen = set(names)
    if unknown := sorted(chosen - RULES.keys()):
        near = closest(unknown[0], RULES)
        raise InputError(
            f"no post-processing rule '{unknown[0]}'; " + (f"did you mean {near}?" if near else "")
            + f" The rules are {', '.join(RULES)}"
        )  # fmt: skip
    return [name for name in RULES if name in chosen]


def apply(text: str, rules: Iterable[str], dialogue: str | None = None) -> str:
    """The summary after the named rules, applied in the order of `RULES`; one that would leave nothing is left out.

    Raises:
        InputError: no rule has that name.
    """
    for name in check_rules(rules):
        text = RULES[name](text, dialogue) or text
    return text


def _restore_masks(text: str, known: dict[str, str]) -> str:
    """Broken forms of the masks `known` (lower case -> as the dialogue writes it) written as they are there."""
    ordered = sorted(known, key=len, reverse=True)
    return _broken_masks(tuple(ordered)).sub(lambda found: known[ordered[int(found.lastgroup[1:])]], text)


@lru_cache(maxsize=1000)
def _broken_masks(ordered: tuple[str, ...]) -> re.Pattern:
    """One pattern for all masks of a dialogue, group `m<i>` for `ordered[i]`; text between masks alone."""
    alternatives = []
    for index, mask in enumerate(ordered):
        word, number = re.fullmatch(r"#(\D+)(\d*)#", mask).groups()
        person = word == "person"
        core = rf"{'(?:person|사람)' if person else word}[ ]*{number}(?![0-9A-Za-z])"
        forms = [rf"[#＃][ ]*{core}(?:[ ]*[#＃])?", rf"(?<![0-9A-Za-z]){core}[ ]*[#＃]"]
        if person:  # in Korean text a bare `Person1` can only be a mask; `Email` or `사람 1명` may be words
            forms.append(rf"(?<![0-9A-Za-z])person[ ]*{number}(?![0-9A-Za-z])")
        alternatives.append(f"(?P<m{index}>{'|'.join(forms)})")
    return re.compile("|".join(alternatives), re.IGNORECASE)


def _sentences(text: str) -> list[str]:
    found, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        found.append(text[start : end.end()].strip())
        start = end.end()
    return [sentence for sentence in (*found, text[start:].strip()) if sentence]


def _is_foreign(char: str) -> bool:
    # 2ℓ, 1º and half-width letters have names of their own; their NFKC form has the name of the script
    script = unicodedata.name(unicodedata.normalize("NFKC", char)[0], "").split(" ")[0]
    return unicodedata.category(char)[0] == "L" and script not in ("HANGUL", "LATIN", "GREEK")
