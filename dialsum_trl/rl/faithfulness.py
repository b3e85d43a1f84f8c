"""Unfaithful versions of a summary: one false statement in right Korean, so that only what it says can decide.

A kind makes a version only where it is surely Korean and surely false. A version whose particles do not fit its names
is not made, nor is one from a summary whose own particles are wrong.
"""

import random
import re
from collections.abc import Callable
from itertools import combinations

from dialsum_trl.data.patterns import PERSON
from dialsum_trl.rl.negation import affirmed, negated
from dialsum_trl.rl.particles import rename, replace, wrong_particle
from dialsum_trl.rl.quantities import Usual, change_quantity

DENIED = 0.1  # share of affirmative sentences that are negated: about as many as negative ones are affirmed
SENTENCE = re.compile(r"[^.!?]+")

# Two speakers who share a place in the sentence: 과, 이나, a comma between them
SHARED = r"(?:과|와|이랑|랑|하고|이나|나|이든지?|든지?|,|·|/|&| 및| 그리고| 또는| 혹은| 와| 과) ?"
WITH = re.compile(r" ?(?:과|와|이랑|랑|하고)(?![가-힣])")
MUTUAL = re.compile(  # what both do or are alike: whoever meets the other is met by him, a friend has a friend
    r"(?:만난|만났|만납|만나|만날|마주|닮)\S*(?: \S+)?$"
    r"|의 (?:\S+ )?(?:친구|동료|동창|동기|동갑|이웃|룸메이트|배우자|형제|자매|남매|사촌|애인|연인|라이벌|짝|짝꿍"
    r"|파트너|동업자)(?:이다|다|이었다|였다|입니다|이었습니다|였습니다)?$"
)
ONE_SIDED = re.compile(  # what one alone wants, says, does or has a reason for: 함께 가고 싶어 한다
    r"싶|[자라다냐]고|달라|려고|려 |러 |부탁|제안|권하|권한|권합|권유|원[하한했합]|바라|바란|바랍|초대|거절|묻|물었"
    r"|물어|알려|소개|사과|감사|칭찬|설득|추천|도와|돕|도움|기다|싫|좋아|피하|피한|꺼|때문에|위해|대신|(?<!에)서 "
)
TOGETHER = re.compile(r"서로|둘|두 사람|함께|같이|만나|만난|만났|만납|만날")


def _sides(sentence: str, one: str, other: str) -> bool:
    """Whether a sentence says different things of two speakers, so that it is another one with them exchanged."""
    rest = re.sub(rf"{one}{SHARED}{other}|{other}{SHARED}{one}", "", sentence).strip()
    places = list(re.finditer(f"{one}|{other}", rest))
    if len(places) != 2 or places[0][0] == places[1][0]:
        return bool(places)
    if MUTUAL.search(rest) or any(WITH.match(rest[place.end() :]) for place in places):
        return bool(ONE_SIDED.search(rest[places[0].end() :]))
    return True


def swap_speakers(text: str, draw: random.Random, dialogue: str, usual: Usual) -> str | None:
    """Two speakers swapped, with their particles; None if the result says the same or fewer than two are named."""
    for one, other in combinations(dict.fromkeys(PERSON.findall(text)), 2):
        if re.search(rf"(?:{one}|{other})도(?![가-힣])", text):  # what is said of one is said of the other
            continue
        if any(_sides(sentence, one, other) for sentence in SENTENCE.findall(text)):
            return rename(text, {one: other, other: one})
    return None


def change_mask(text: str, draw: random.Random, dialogue: str, usual: Usual) -> str | None:
    """One speaker becomes another who is in the dialogue and not in the summary; None where there is no such.

    A speaker who is not in the dialogue would be recognizable by form. Contact masks are left alone: nobody
    calls an address.
    """
    named = set(PERSON.findall(text))
    others = sorted((set(PERSON.findall(dialogue)) or {"#Person1#", "#Person2#"}) - named)
    places = [place for place in PERSON.finditer(text) if text[place.end() :][:1] != "도"]
    if not others or not places or (len(named) == 1 and TOGETHER.search(text)):
        return None
    place = draw.choice(places)
    return replace(text, place.start(), place.end(), draw.choice(others))


def negate(text: str, draw: random.Random, dialogue: str, usual: Usual) -> str | None:
    """The last sentence whose opposite is known is replaced by it; None if none is, and for most affirmative ones.

    Few summaries are negative. If every affirmative one were negated, `않` alone would mark the rejected side.
    """
    for sentence in reversed(list(SENTENCE.finditer(text))):
        if text[sentence.end() :][:1] != "?":
            affirmative = affirmed(sentence[0])
            if made := affirmative or negated(sentence[0]):
                if not affirmative and draw.random() >= DENIED:
                    return None
                return text[: sentence.start()] + made + text[sentence.end() :]
    return None


def _kind(change: Callable[..., str | None], **settings) -> Callable[..., str | None]:
    """The change of a text whose particles after names are right in it and in the version made of it, else None.

    Its optional arguments are those of `negatives`.
    """

    def version(text: str, draw: random.Random, dialogue: str = "", usual: Usual | None = None) -> str | None:
        made = None if wrong_particle(text) else change(text, draw, dialogue, usual or Usual(), **settings)
        return None if made is None or wrong_particle(made) else made

    return version


KINDS = {
    "speakers": _kind(swap_speakers),
    "number": _kind(change_quantity, weekdays=False),
    "weekday": _kind(change_quantity, weekdays=True),
    "mask": _kind(change_mask),
    "negation": _kind(negate),
}


def negatives(text: str, draw: random.Random, dialogue: str = "", usual: Usual | None = None) -> list[tuple[str, str]]:
    """`(kind, unfaithful version)` for each kind that fits `text`, in drawn order.

    Args:
        dialogue: what the summary is of; no value and no speaker of a version is taken from elsewhere than it allows.
        usual: the values of other summaries, to draw from.
    """
    kinds = list(KINDS)
    draw.shuffle(kinds)
    versions = [(kind, KINDS[kind](text, draw, dialogue, usual)) for kind in kinds]
    return [(kind, version) for kind, version in versions if version is not None and version != text]
