"""Unfaithful versions of a summary: one false statement in right Korean, so that only what it says can decide.

A kind makes a version only where it is surely Korean and surely false. A version whose particles do not fit its names
is not made, nor is one from a summary whose own particles are wrong.
"""

import random
import re
from collections.abc import Callable
from itertools import combinations

from dialsum_trl.data.patterns import MASK_PARTS
from dialsum_trl.rl.negation import affirmed, negated
from dialsum_trl.rl.particles import rename, replace, wrong_particle
from dialsum_trl.rl.quantities import Usual, change_quantity

DENIED = 0.1  # share of affirmative sentences that are negated: about as many as negative ones are affirmed
SPEAKER = re.compile(r"#Person\d+#")
SENTENCE = re.compile(r"[^.!?]+")

# Two speakers who share a place in the sentence: 과, 이나, a comma between them
SHARED = r"(?:과|와|이랑|랑|하고|이나|나|이든지?|든지?|,|·|/|&| 및| 그리고| 또는| 혹은| 와| 과) ?"
SUBJECT = r" ?(?:은|는|이|가)(?![가-힣])"
OBJECT = r" ?(?:을|를)(?![가-힣])"
WITH = r" ?(?:과|와|이랑|랑|하고)(?![가-힣])"
ENDED = re.compile(  # the clause has a predicate or a reason of its own: 아르바이트가 있어서 #Person2#와
    r"(?:(?<!에)서|고|며|면|지만|는데|은데|(?<!언)니|(?<![혼여남])자|러|도록|다가|때문에|위해|대신|뒤|[^오]후|[^오]전)"
    r",? "
)
ONE_SIDED = re.compile(  # what one alone wants, says or does, with the other: 함께 가고 싶어 한다
    r"싶|[자라다냐]고|달라|려고|려 |부탁|제안|권하|권한|권합|권유|원[하한했합]|바라|바란|바랍|초대|거절|묻|물었"
    r"|물어|알려|소개|사과|감사|칭찬|설득|추천|도와|돕|도움|기다|싫|좋아|피하|피한|꺼"
)
MEETS = re.compile(r"(?:만난|만났|만납|만나|만날|마주|닮)\S*(?: \S+)?$")
ALIKE = re.compile(  # whoever is the other's friend has a friend in him
    r"의 (?:\S+ )?(?:친구|동료|동창|동기|동갑|이웃|룸메이트|배우자|형제|자매|남매|사촌|애인|연인|라이벌|짝|짝꿍"
    r"|파트너|동업자)(?:이다|다|이었다|였다|입니다|이었습니다|였습니다)?$"
)
TOGETHER = re.compile(r"서로|둘|두 사람|함께|같이|만나|만난|만났|만납|만날")


def _sides(sentence: str, one: str, other: str) -> bool:
    """Whether a sentence says different things of two speakers, so that it is another one with them exchanged."""
    pair = f"(?:{one}|{other})"
    rest = re.sub(rf"{one}{SHARED}{other}|{other}{SHARED}{one}", "", sentence).strip()
    places = list(re.finditer(pair, rest))
    if not places:
        return False
    if len(places) != 2 or places[0][0] == places[1][0]:
        return True
    between, after = rest[places[0].end() : places[1].start()], rest[places[1].end() :]
    roles = [rest[place.end() :] for place in places]
    if any(re.match(WITH, role) for role in roles):
        return bool(ENDED.search(between) or ONE_SIDED.search(after))
    if not any(re.match(SUBJECT, role) for role in roles):
        return True
    if any(re.match(OBJECT, role) for role in roles):
        return not MEETS.search(after) or any(map(ENDED.search, (between, after))) or bool(ONE_SIDED.search(after))
    return not ALIKE.match(after)


def swap_speakers(text: str, draw: random.Random, dialogue: str = "", usual: Usual | None = None) -> str | None:
    """Two speakers swapped, with their particles; None if the result says the same or fewer than two are named."""
    speakers = list(dict.fromkeys(SPEAKER.findall(text)))
    for one, other in combinations(speakers, 2):
        if re.search(rf"(?:{one}|{other})도(?![가-힣])", text):  # what is said of one is said of the other
            continue
        if any(_sides(sentence, one, other) for sentence in SENTENCE.findall(text)):
            return _checked(text, rename(text, {one: other, other: one}))
    return None


def change_number(text: str, draw: random.Random, dialogue: str = "", usual: Usual | None = None) -> str | None:
    """One number, time, date or amount becomes another one of `usual`, which is not in the dialogue."""
    return _checked(text, change_quantity(text, draw, dialogue, usual or Usual()))


def change_weekday(text: str, draw: random.Random, dialogue: str = "", usual: Usual | None = None) -> str | None:
    """One day of the week becomes another one of `usual`, which is not in the dialogue."""
    return _checked(text, change_quantity(text, draw, dialogue, usual or Usual(), weekdays=True))


def change_mask(text: str, draw: random.Random, dialogue: str = "", usual: Usual | None = None) -> str | None:
    """One speaker becomes another who is in the dialogue and not in the summary; None where there is no such.

    A speaker who is not in the dialogue would be recognizable by form. Contact masks are left alone: nobody
    calls an address.
    """
    present = set(SPEAKER.findall(dialogue)) or {"#Person1#", "#Person2#"}
    named = set(SPEAKER.findall(text))
    others = sorted(present - named)
    places = [place for place in MASK_PARTS.finditer(text) if place[1] == "Person" and text[place.end() :][:1] != "도"]
    if not others or not places or (len(named) == 1 and TOGETHER.search(text)):
        return None
    place = draw.choice(places)
    return _checked(text, replace(text, place.start(), place.end(), draw.choice(others)))


def negate(text: str, draw: random.Random, dialogue: str = "", usual: Usual | None = None) -> str | None:
    """The last sentence whose opposite is known is replaced by it; None if none is, and for most affirmative ones.

    Few summaries are negative. If every affirmative one were negated, `않` alone would mark the rejected side.
    """
    for sentence in reversed(list(SENTENCE.finditer(text))):
        if text[sentence.end() :][:1] != "?":
            affirmative = affirmed(sentence[0])
            if made := affirmative or negated(sentence[0]):
                if not affirmative and draw.random() >= DENIED:
                    return None
                return _checked(text, text[: sentence.start()] + made + text[sentence.end() :])
    return None


def _checked(text: str, version: str | None) -> str | None:
    """The version when the particles after names are right in it and in the text that it was made of, else None."""
    return None if version is None or wrong_particle(text) or wrong_particle(version) else version


KINDS: dict[str, Callable[..., str | None]] = {
    "speakers": swap_speakers,
    "number": change_number,
    "weekday": change_weekday,
    "mask": change_mask,
    "negation": negate,
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
