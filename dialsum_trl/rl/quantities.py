"""Amounts, times and dates of a Korean text: where they stand, and which others could stand there.

Another value is of the same kind, in the same writing, within what is possible (no month 13, no 110 % of a whole), and
keeps its place among the values of its kind in the text (what was the earlier hour stays the earlier one).
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dialsum_trl.rl.hangul import words
from dialsum_trl.rl.particles import replace

Value = tuple[float, str]  # by which it is ordered, and as it is written

NATIVE = words("한 두 세 네 다섯 여섯 일곱 여덟 아홉 열 열한 열두")  # before a counter
DAYS = words("이틀 사흘 나흘 닷새 엿새 이레 여드레 아흐레 열흘")  # from two days on; 하루 is also "a day"
WEEKDAYS = "월화수목금토일"
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
MINUTES = (5, 10, 15, 20, 30, 40, 50)  # what people say; 10분 becomes 15분 rather than 11분
HOURS = {"새벽": (1, 5), "아침": (6, 9), "오전": (8, 11), "낮": (1, 3), "오후": (1, 5), "저녁": (6, 8), "밤": (9, 11)}
SCALES = {"억": 10**8, "만": 10**4, "천": 10**3, "백": 100, "": 1}
MOST = {"학기": 2, "학년": 6, "교시": 9, "호선": 9}
NAMES = ("번", "호", "호선", "호실", "층", "위", "등", "차")  # numbers that are names more than amounts

# A number stands alone: no part of a word (A4), of a phone number, a range (3~4), a fraction (3분의 1) or order (제1)
BEFORE = r"(?<![\d#A-Za-z~∼\-–/:+제])(?<!\d[.,])(?<![~∼–] )"
PARTICLE = (
    r"은|는|이|가|을|를|의(?! ?\d)|에|과|와|도|만|로|으로|씩|짜리|인|임|정도|쯤|까지|부터|보다|나|이나|라|이라|마다|간"
    r"|동안|후|뒤|전|안|내|이상|이하|가량|께|다(?![가-힣])|이다|였|이었|입니다|예요|이에요"
)
AFTER = rf"(?=(?:{PARTICLE})|[^가-힣A-Za-z\d%~∼\-–/+]|$)(?! ?[~∼–\-/] ?\d)(?!의 ?\d)"
PARTS = f"(?P<part>{'|'.join((*HOURS, '점심'))}) ?"
COUNTERS = (
    "시간|분|초|년|개월|주일|주년|주|박|명|인분|인|개국|개|권|잔|병|마리|대|벌|켤레|그릇|판|통|곳|군데|가지|살|세|층|평|도|쪽"
    "|페이지|장|회|차|위|등|점|킬로미터|킬로그램|킬로|그램|미터|센티미터|센티|리터|kg|km|cm|mm|ml|g|m|L|호선|호실|호|학년|학기"
    "|교시|번|송이|조각|자루|줄|달러|유로|엔|위안"
)
NATIVE_COUNTERS = "명|개|시간|시|달|잔|권|마리|장|대|병|살|가지|곳|켤레|벌|그릇|조각|송이|자루|통|판|군데|과목"
NUMBER = r"\d{1,3}(?:,\d{3})+|\d+"
TIME = (
    rf"{BEFORE}(?:{PARTS})?(?P<hour>\d{{1,2}})시(?!간)(?: ?(?P<half>반|(?P<minute>\d{{1,2}})분))?{AFTER}"  # 오전 8시 반
)
CLOCK = rf"{BEFORE}(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?![\d:])(?! ?[~∼–\-])"
DATE = rf"{BEFORE}(?P<month>\d{{1,2}})월(?! ?호)(?: (?P<day>\d{{1,2}})일(?!간))?{AFTER}"
DAY = rf"{BEFORE}(?<!월 )(?<!박 )(?P<day>\d{{1,2}})일(?P<long> ?(?:동안|간|전|후|뒤|만에|안에|이내))?{AFTER}"
STAY = rf"{BEFORE}(?P<nights>\d{{1,2}})박(?P<gap> ?)(?P<days>\d{{1,2}})일{AFTER}"
WON = rf"{BEFORE}(?P<amount>(?:\d+억 ?)?(?:\d+만(?: ?\d+천)?|\d+천|\d+백|{NUMBER})) ?(?P<unit>원){AFTER}"
SIGNED = rf"(?P<unit>[$€£¥₩])(?P<amount>{NUMBER})(?![\d.,]\d)"
PERCENT = rf"{BEFORE}(?P<value>\d+)(?P<unit> ?(?:%|퍼센트|프로(?=[ 은는이가을를의에로도만])))(?! ?[~∼–\-/] ?\d)"
COUNT = rf"{BEFORE}(?P<value>{NUMBER})(?P<part>\.\d+)?(?P<gap> ?)(?P<unit>{COUNTERS}){AFTER}"
LONGEST_FIRST = "|".join(sorted(NATIVE, key=len, reverse=True))
NATIVE_COUNT = rf"(?<![가-힣])(?P<word>{LONGEST_FIRST}) (?P<unit>{NATIVE_COUNTERS}){AFTER}"
NATIVE_DAYS = rf"(?<![가-힣])(?P<word>{'|'.join(DAYS)})(?= |에|을|를|간|의|이|가|은|는|만|씩|째|\.|,|$)"
WEEKDAY = rf"(?<![가-힣])(?P<day>[{WEEKDAYS}])요일"
OF_A_WHOLE = re.compile(r"만점|중 (?=한|두|\d)|가운데 (?=한|두|\d)|분의")  # 5개 중 3개, 10점 만점에 9점


@dataclass(frozen=True)
class Quantity:
    """A value in a text.

    Attributes:
        start, end: its place.
        text: as it is written, `오전 8시 반`.
        kind: what it is a value of, and how it is written; values of one kind can stand for one another.
        value: by which values of a kind are ordered.
        rank: the lower, the less its form says of it; people meet at any hour, and a bus has its number.
        others: near values that could be in its place.
    """

    start: int
    end: int
    text: str
    kind: tuple
    value: float
    rank: int
    others: list[Value]


def near(value: int, low: int = 1, high: int | None = None, coarse: int = 4) -> list[int]:
    """Values as round as `value`, up to three steps from it: 30 goes with 15, 20, 25, 35, 40 and 45.

    Args:
        low, high: the least and the greatest that are possible.
        coarse: how many steps a value is at least.
    """
    sizes = (10000, 5000, 1000, 500, 100, 50, 10, 5)
    return _by(next((size for size in sizes if value % size == 0 and value >= coarse * size), 1), value, low, high)


def _by(step: int, value: int, low: int = 1, high: int | None = None) -> list[int]:
    """Up to three steps from a value, both ways."""
    others = (value + step * count for count in (-3, -2, -1, 1, 2, 3))
    return [other for other in others if other >= low and (high is None or other <= high)]


def _written(value: int, like: str) -> str:
    """A number with separators or zeros before it where another has them."""
    return f"{value:,}" if "," in like else f"{value:0{len(like)}d}" if like.startswith("0") else str(value)


def _changed(match: re.Match, group: str, values: Iterable[int], order: Callable[[int], float] = float) -> list[Value]:
    """The text of the match with each of the values in the place of a group."""
    before = match[0][: match.start(group) - match.start()]
    after = match[0][match.end(group) - match.start() :]
    return [(order(value), before + _written(value, match[group]) + after) for value in values]


def _quantity(match: re.Match, kind: tuple, value: float, rank: int, others: list[Value]) -> Quantity:
    return Quantity(*match.span(), match[0], kind, value, rank, others)


def _hours(part: str | None, hour: int) -> list[int]:
    """Other hours of the same part of the day; without a part those of the same half."""
    low, high = HOURS.get(part or "", (1, 12))
    if part and low <= hour <= high:
        return [other for other in range(low, high + 1) if other != hour]
    if part or 1 <= hour <= 12:
        return _by(1, hour, 1, 12)
    return _by(1, hour, 13 if hour else 0, 23)


def _time(match: re.Match) -> Quantity | None:
    hour, part = int(match["hour"]), match["part"]
    minute = 30 if match["half"] == "반" else int(match["minute"] or 0)
    if hour > 24 or minute > 59:
        return None
    late = 12 if part in ("오후", "저녁", "밤") and hour < 12 else 0

    def order(value: int) -> float:
        return 60 * (value + late) + minute

    kind = ("time", bool(part), bool(match["minute"]))
    return _quantity(match, kind, order(hour), 0, _changed(match, "hour", _hours(part, hour), order))


def _clock(match: re.Match) -> Quantity | None:
    hour, minute = int(match["hour"]), int(match["minute"])
    if hour > 24 or minute > 59:
        return None
    part = re.search(f"{PARTS}$", match.string[: match.start()])
    hours = _hours(part["part"], hour) if part else _by(1, hour, 0, 23)

    def order(value: int) -> float:
        return 60 * value + minute

    kind = ("clock", part and part["part"])  # 오전 10:30 is no 15:30
    return _quantity(match, kind, order(hour), 1, _changed(match, "hour", hours, order))


def _date(match: re.Match) -> Quantity | None:
    month, day = int(match["month"]), int(match["day"] or 1)
    if not 1 <= month <= 12 or not 1 <= day <= MONTH_DAYS[month - 1] + (month == 2):
        return None
    months = [other for other in _by(1, month, 1, 12) if day <= MONTH_DAYS[other - 1]]
    others = _changed(match, "month", months, lambda value: 100 * value + day)
    if match["day"]:
        others += _changed(match, "day", _by(1, day, 1, MONTH_DAYS[month - 1]), lambda value: 100 * month + value)
    return _quantity(match, ("date", bool(match["day"])), 100 * month + day, 4, others)


def _day(match: re.Match) -> Quantity | None:
    day, long = int(match["day"]), (match["long"] or "").strip()
    if not day or (not long and day > 31):
        return None
    others = _changed(match, "day", _by(1, day, 1, None if long else max(day, 28)))  # every month has 28
    return _quantity(match, ("days", long), day, 3, others)


def _stay(match: re.Match) -> Quantity | None:
    nights, days = int(match["nights"]), int(match["days"])
    if not 0 < nights <= days:
        return None
    others = [(other, f"{other}박{match['gap']}{other + days - nights}일") for other in near(nights)]
    return _quantity(match, ("stay",), nights, 2, others)


def _money(match: re.Match) -> Quantity | None:
    amount = match["amount"]
    pieces = [(int(digits.replace(",", "")), scale) for digits, scale in re.findall(r"([\d,]+)([억만천백]?)", amount)]
    lead, scale = pieces[0]
    if not lead:
        return None
    value = sum(number * SCALES[unit] for number, unit in pieces)
    if not scale:
        style, leads = "commas" if "," in amount else "digits", near(lead, coarse=2)
    elif 10 <= lead < 50:  # 12만 원: 10만, 15만, 20만
        style, leads = "words", [other for other in range(10, lead + 16, 5) if 0 < abs(other - lead) <= 15]
    else:
        style, leads = "words", near(lead, coarse=2) if lead >= 10 else _by(1, lead, 1, 9)
    first = re.search(r"[\d,]+", amount)[0]
    start = match.start("amount") - match.start()
    others = [
        (
            value + (other - lead) * SCALES[scale],
            match[0][:start] + _written(other, first) + match[0][start + len(first) :],
        )
        for other in leads
    ]
    return _quantity(match, ("money", match["unit"], style), value, 2, others)


def _percent(match: re.Match) -> Quantity:
    value = int(match["value"])
    others = near(value, 0, 100 if value <= 100 else None)
    return _quantity(match, ("percent", match["unit"]), value, 1, _changed(match, "value", others))


def _count(match: re.Match) -> Quantity | None:
    value, part, unit = int(match["value"].replace(",", "")), match["part"] or "", match["unit"]
    if not value and not part:
        return None
    year, spoken = unit == "년" and value > 1000, unit == "분" and value in MINUTES and not part
    if spoken:
        others = [other for other in MINUTES if other != value]
    elif year:
        others = _by(1, value)
    elif unit == "대" and value % 10 == 0:  # 20대, people in their twenties
        others = _by(10, value)
    else:
        others = near(value, 1, _most(value, part, unit))
    rank = 0 if spoken else 5 if unit in NAMES else 4 if year else 3 if unit == "년" else 1

    def order(number: int) -> float:
        return float(f"{number}{part}")

    kind = ("count", unit, year, bool(part), match["gap"])
    return _quantity(match, kind, order(value), rank, _changed(match, "value", others, order))


def _most(value: int, part: str, unit: str) -> int | None:
    """The greatest number that a counter can have here."""
    if unit == "학년":
        return 3 if value <= 3 else 6
    if unit == "점" and value <= 100:
        return 4 if part and value < 5 else 100  # 4.5 of 5
    if unit == "시간" and value <= 24:
        return 23
    if unit in ("분", "초") and value < 60:
        return 59
    return MOST.get(unit)


def _native_count(match: re.Match) -> Quantity:
    last = len(NATIVE) if match["unit"] == "시" else NATIVE.index("열") + 1
    return _word(match, NATIVE, ("counted", match["unit"]), 1, last)


def _native_days(match: re.Match) -> Quantity:
    return _word(
        match, DAYS, ("native days",), 0, max(DAYS.index("닷새"), DAYS.index(match["word"])) + 1
    )  # few say 이레


def _weekday(match: re.Match) -> Quantity:
    place = WEEKDAYS.index(match["day"])
    others = [(float(other), f"{day}요일") for other, day in enumerate(WEEKDAYS) if other != place]
    return _quantity(match, ("weekday",), place, 0, others)


def _word(match: re.Match, names: Sequence[str], kind: tuple, rank: int, last: int) -> Quantity:
    place = names.index(match["word"])
    rest = match[0][len(match["word"]) :]
    others = [(float(other), names[other] + rest) for other in _by(1, place, 0, last - 1)]
    return _quantity(match, kind, place, rank, others)


READERS = tuple(
    (re.compile(pattern), reader)
    for pattern, reader in (
        (STAY, _stay),
        (TIME, _time),
        (CLOCK, _clock),
        (DATE, _date),
        (DAY, _day),
        (WON, _money),
        (SIGNED, _money),
        (PERCENT, _percent),
        (COUNT, _count),
        (NATIVE_COUNT, _native_count),
        (NATIVE_DAYS, _native_days),
        (WEEKDAY, _weekday),
    )
)


def quantities(text: str) -> list[Quantity]:
    """The values of a text that are surely ones, in order; where two readings overlap, the first reader's."""
    found: list[Quantity] = []
    taken: list[tuple[int, int]] = []
    for pattern, reader in READERS:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            taken.append(match.span())
            if quantity := reader(match):
                found.append(quantity)
    return sorted(found, key=lambda quantity: quantity.start)


class Usual:
    """The values that a collection of texts has, by kind: others are drawn from among them as often as they occur."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.values: dict[tuple, Counter] = defaultdict(Counter)
        for text in texts:
            for quantity in quantities(text):
                self.values[quantity.kind][quantity.value, quantity.text] += 1

    def others(self, quantity: Quantity) -> list[Value]:
        """The values of the same kind."""
        return sorted(self.values.get(quantity.kind, ()))

    def count(self, quantity: Quantity, value: Value) -> int:
        """How often the texts have a value of this kind."""
        return self.values[quantity.kind][value]


def stands_in(value: str, text: str) -> bool:
    """Whether a value is written in a text, at whatever part of the day; `2만 원` does not stand in `12만 원`."""
    bare = re.sub(f"^{PARTS}", "", value).removesuffix(" 반")
    return re.search(rf"(?<![\d,.가-힣]){re.escape(bare)}", text) is not None


def change_quantity(
    text: str, draw: random.Random, dialogue: str = "", usual: Usual | None = None, weekdays: bool = False
) -> str | None:
    """One value of the text becomes another one, with the particle that it asks for; None when no value surely can.

    Args:
        dialogue: the new value does not stand in it.
        usual: values to draw from. Without them a near one is taken, of the value of which the form says least.
        weekdays: change a day of the week, and else no such day.
    """
    if OF_A_WHOLE.search(text):
        return None
    found = quantities(text)
    once = [
        quantity
        for quantity in found
        if (quantity.kind == ("weekday",)) == weekdays and sum(other.text == quantity.text for other in found) == 1
    ]
    draw.shuffle(once)
    if usual is None:
        once.sort(key=lambda quantity: quantity.rank)
    for quantity in once:
        rivals = [other.value for other in found if other.kind == quantity.kind and other is not quantity]
        others = [
            (value, written)
            for value, written in (quantity.others if usual is None else usual.others(quantity))
            if value != quantity.value
            and all((value < rival) == (quantity.value < rival) and value != rival for rival in rivals)
            and not stands_in(written, dialogue)
            and not stands_in(written, text)
        ]
        if others:
            weights = None if usual is None else [usual.count(quantity, other) for other in others]
            return _put(text, quantity, draw.choices(others, weights)[0][1])
    return None


def _put(text: str, quantity: Quantity, new: str) -> str | None:
    """The text with another value; its particle changes where the value ends otherwise (8시 반으로, 8시로)."""
    if new[-1] == quantity.text[-1] or new[-1].isdigit():  # 10:30 and $30 are read as hours and dollars
        return text[: quantity.start] + new + text[quantity.end :]
    return replace(text, quantity.start, quantity.end, new)
