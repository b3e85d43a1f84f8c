"""Amounts, times and dates of a Korean text, and other summaries' values of the same kind in their place."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from dialsum_trl.rl.particles import replace

NATIVE = ("한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉", "열", "열한", "열두")  # before a counter
DAYS = ("이틀", "사흘", "나흘", "닷새", "엿새", "이레", "여드레", "아흐레", "열흘")  # 하루 is also "a day"
WEEKDAYS = "월화수목금토일"
SCALES = {"억": 10**8, "만": 10**4, "천": 10**3, "백": 100, "": 1}

# A number stands alone: no part of a word (A4), of a phone number, a range (3~4), a fraction (3분의 1) or order (제1)
BEFORE = r"(?<![\d#A-Za-z~∼\-–/:+제])(?<!\d[.,])(?<![~∼–] )"
PARTICLE = (
    r"은|는|이|가|을|를|의(?! ?\d)|에|과|와|도|만|로|으로|씩|짜리|인|임|정도|쯤|까지|부터|보다|나|이나|라|이라|마다|간"
    r"|동안|후|뒤|전|안|내|이상|이하|가량|께|다(?![가-힣])|이다|였|이었|입니다|예요|이에요"
)
AFTER = rf"(?=(?:{PARTICLE})|[^가-힣A-Za-z\d%~∼\-–/+]|$)(?! ?[~∼–\-/] ?\d)(?!의 ?\d)"
COUNTERS = (
    "시간|분|초|년|개월|주일|주년|주|명|인분|인|개국|개|권|잔|병|마리|대|벌|켤레|그릇|판|통|곳|군데|가지|살|세|층|평|도|쪽"
    "|페이지|장|회|차|위|등|점|킬로미터|킬로그램|킬로|그램|미터|센티미터|센티|리터|kg|km|cm|mm|ml|g|m|L|호선|호실|호|학년|학기"
    "|교시|번|송이|조각|자루|줄|달러|유로|엔|위안"
)
NATIVE_COUNTERS = "명|개|시간|달|잔|권|마리|장|대|병|살|가지|곳|켤레|벌|그릇|조각|송이|자루|통|판|군데|과목"
NUMBER = r"\d{1,3}(?:,\d{3})+|\d+"
HOUR, DAY = r"(?:[01]?\d|2[0-4])", r"(?:[12]\d|3[01]|[1-9])"
PARTS = "(?P<part>새벽|아침|오전|낮|점심|오후|저녁|밤) ?"
# name -> where such a value stands; the groups `part` and `unit` belong to its kind, the others to its value
PATTERNS = {
    "stay": rf"{BEFORE}(?P<nights>\d{{1,2}})박 ?\d{{1,2}}일{AFTER}",
    "time": rf"{BEFORE}(?:{PARTS})?(?P<hour>{HOUR})시(?!간)(?: ?(?P<half>반|(?P<minute>[0-5]?\d)분))?{AFTER}",
    "clock": rf"(?:{PARTS})?{BEFORE}(?P<hour>{HOUR}):(?P<minute>[0-5]\d)(?![\d:])(?! ?[~∼–\-])",
    "date": rf"{BEFORE}(?P<month>[1-9]|1[0-2])월(?! ?호)(?: (?P<day>{DAY})일(?!간))?{AFTER}",
    "day": rf"{BEFORE}(?<!월 )(?P<day>{DAY})일(?P<unit> ?(?:동안|간|전|후|뒤|만에|안에|이내))?{AFTER}",
    "money": rf"{BEFORE}(?P<amount>(?:\d+억 ?)?(?:\d+만(?: ?\d+천)?|\d+천|\d+백|{NUMBER})) ?(?P<unit>원){AFTER}",
    "signed": rf"(?P<unit>[$€£¥₩])(?P<amount>{NUMBER})(?![\d.,]\d)",
    "percent": rf"{BEFORE}(?P<amount>100|\d\d?)(?P<unit> ?(?:%|퍼센트|프로(?=[ 은는이가을를의에로도만])))(?! ?[~∼–/-])",
    "count": rf"{BEFORE}(?P<amount>{NUMBER})(?P<point>\.\d+)?(?P<unit> ?(?:{COUNTERS})){AFTER}",
    # not before spelled minutes, which would stay with another hour
    "hour": rf"(?<![가-힣])(?:{PARTS})?(?P<word>{'|'.join(NATIVE)}) 시(?P<half> 반)?(?! [일이삼사오십]+ ?분){AFTER}",
    "native": rf"(?<![가-힣])(?P<word>{'|'.join(NATIVE)}) (?P<unit>{NATIVE_COUNTERS}){AFTER}",
    "days": rf"(?<![가-힣])(?P<word>{'|'.join(DAYS)})(?= |에|을|를|간|의|이|가|은|는|만|씩|째|\.|,|$)",
    "weekday": rf"(?<![가-힣])(?<![{WEEKDAYS}][·,/~])(?<![{WEEKDAYS}], )(?P<word>[{WEEKDAYS}])요일",
}
ORDERED = {"native": NATIVE, "days": DAYS, "weekday": WEEKDAYS}
READERS = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
OF_A_WHOLE = re.compile(r"만점|중 (?=한|두|\d)|가운데 (?=한|두|\d)|분의")  # 5개 중 3개, 10점 만점에 9점


@dataclass(frozen=True)
class Quantity:
    """A value in a text: its place, how it is written (`오전 8시 반`), what it is a value of, and its size.

    Values of one kind, which includes the way of writing, can stand for one another.
    """

    start: int
    end: int
    text: str
    kind: tuple
    value: float


def _kind(name: str, groups: dict[str, str]) -> tuple:
    """Unit and way of writing: 3개 is no 3.5개, 2024년 no 3년, 5천 원 no 5,000원, 오전 10시 no 10시."""
    amount, unit = groups.get("amount", ""), groups.get("unit")
    style = amount.lstrip("0123456789")[:1]  # 천, 만, a comma
    year = unit == "년" and len(amount) == 4
    return name, unit, style, year, *sorted(groups.keys() - {"half"})


def _value(name: str, groups: dict[str, str]) -> float:
    """By which values of a kind are ordered."""
    if name in ORDERED:
        return ORDERED[name].index(groups["word"])
    if "hour" in groups or name == "hour":
        hour = int(groups["hour"]) if "hour" in groups else NATIVE.index(groups["word"]) + 1
        late = 12 if groups.get("part") in ("오후", "저녁", "밤") and hour < 12 else 0
        minute = groups.get("minute") or 30 * ("half" in groups)
        return 60 * (hour + late) + int(minute)
    if "amount" in groups:
        pieces = re.findall(r"([\d,]+)([억만천백]?)", groups["amount"])
        whole = sum(int(digits.replace(",", "")) * SCALES[scale] for digits, scale in pieces)
        return whole + float(groups.get("point", 0))
    return 100 * int(groups.get("month", 0)) + int(groups.get("day") or groups.get("nights", 1))


def quantities(text: str) -> list[Quantity]:
    """The values of a text that are surely ones, in order; where two readings overlap, the first reader's."""
    found: list[Quantity] = []
    for name, pattern in READERS.items():
        for match in pattern.finditer(text):
            if not any(match.start() < other.end and other.start < match.end() for other in found):
                groups = {key: value for key, value in match.groupdict().items() if value}
                found.append(Quantity(*match.span(), match[0], _kind(name, groups), _value(name, groups)))
    return sorted(found, key=lambda quantity: quantity.start)


class Usual:
    """The values that a collection of texts has: `values[kind][value, text]` is how often."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.values: dict[tuple, Counter] = defaultdict(Counter)
        for text in texts:
            for quantity in quantities(text):
                self.values[quantity.kind][quantity.value, quantity.text] += 1


def stands_in(value: str, text: str) -> bool:
    """Whether a value is written in a text, at whatever part of the day; `2만 원` does not stand in `12만 원`."""
    bare = re.sub(f"^{PARTS}", "", value).removesuffix(" 반")
    return re.search(rf"(?<![\d,.가-힣]){re.escape(bare)}", text) is not None


def change_quantity(text: str, draw: random.Random, dialogue: str, usual: Usual, weekdays: bool) -> str | None:
    """One value of the text becomes another one, with the particle that it asks for; None when no value surely can.

    The other is of the same kind and keeps its place among those of its kind in the text: what was the earlier hour
    stays the earlier one.

    Args:
        dialogue: the new value does not stand in it.
        usual: values to draw from, as often as they occur.
        weekdays: change a day of the week, and else no such day.
    """
    if OF_A_WHOLE.search(text):
        return None
    found = quantities(text)
    once = [each for each in found if (each.kind[0] == "weekday") == weekdays and text.count(each.text) == 1]
    draw.shuffle(once)
    for quantity in once:
        rivals = [other.value for other in found if other.kind == quantity.kind and other is not quantity]
        others = {
            written: count
            for (value, written), count in sorted(usual.values[quantity.kind].items())
            if value != quantity.value
            and all((value < rival) == (quantity.value < rival) and value != rival for rival in rivals)
            and not stands_in(written, dialogue)
            and not stands_in(written, text)
        }
        if others:
            new = draw.choices(list(others), others.values())[0]
            if new[-1] == quantity.text[-1] or new[-1].isdigit():  # 10:30 and $30 are read as hours and dollars
                return text[: quantity.start] + new + text[quantity.end :]
            return replace(text, quantity.start, quantity.end, new)
    return None
