"""Korean sentences negated, and negative ones affirmed: 간다 and 가지 않는다, 갈 수 없다 and 갈 수 있다."""

import re
from collections import defaultdict
from collections.abc import Iterator

from dialsum_trl.rl.hangul import final_of, with_final, words

# Common verbs and adjectives, each with its form in -아/어; of others nothing is known. Some are here for a form that
# they share with another one, so that it is read as neither's: 산다 of 사 and 살, 들었다 of 듣 and 들.
VERBS = words(
    """
        가 가 가르치 가르쳐 가져가 가져가 가져오 가져와 갈 갈아 감추 감춰 고르 골라 그만두 그만둬 기다리 기다려
        깨닫 깨달아 깨우 깨워 꺼내 꺼내 끄 꺼 끊 끊어 끝나 끝나 끝내 끝내 나누 나눠 나오 나와 남기 남겨 남 남아
        내리 내려 넘기 넘겨 넣 넣어 놀라 놀라 놓치 놓쳐 누르 눌러 느끼 느껴 늦추 늦춰 다니 다녀 닦 닦아 닫 닫아
        달리 달려 돌려주 돌려줘 돌아가 돌아가 돌아오 돌아와 돕 도와 두 둬 듣 들어 들 들어 들르 들러 따르 따라
        떠나 떠나 마시 마셔 마치 마쳐 만나 만나 만들 만들어 맞추 맞춰 맡기 맡겨 먹 먹어 모으 모아 모이 모여 미루 미뤄
        믿 믿어 바꾸 바꿔 받 받아 받아들이 받아들여 배우 배워 버리 버려 벗 벗어 보 봐 보내 보내 보이 보여 부르 불러
        붙이 붙여 빌려주 빌려줘 빌리 빌려 빼 빼 빼앗 빼앗아 사 사 살 살아 생기 생겨 서두르 서둘러 숨기 숨겨 쉬 쉬어
        시키 시켜 심 심어 싣 실어 싸우 싸워 쓰 써 쓸 쓸어 씻 씻어 앉 앉아 알려주 알려줘 알리 알려 어기 어겨 얻 얻어
        열 열어 옮기 옮겨 오 와 오르 올라 올리 올려 웃 웃어 움직이 움직여 이기 이겨 이루 이뤄 일어나 일어나 읽 읽어
        입 입어 잃 잃어 잊 잊어 자 자 잠그 잠가 잡 잡아 적 적어 주 줘 줄 줄어 줄이 줄여 지나 지나 지내 지내 지우 지워
        지키 지켜 짓 지어 찍 찍어 참 참아 찾 찾아 챙기 챙겨 치우 치워 타 타 파 파 팔 팔아 푸 퍼 풀 풀어 피우 피워
        하 해 흔들 흔들어
    """
)
ADJECTIVES = words(
    """
        가깝 가까워 괜찮 괜찮아 나쁘 나빠 낮 낮아 넓 넓어 높 높아 늦 늦어 다르 달라 덥 더워 맑 맑아 무겁 무거워
        무섭 무서워 바쁘 바빠 비싸 비싸 쉽 쉬워 싫 싫어 싸 싸 아프 아파 어렵 어려워 예쁘 예뻐 작 작아 좁 좁아 좋 좋아
        춥 추워 크 커 하 해 힘들 힘들어
    """
)
STYLES = (("한다", "된다"), ("합니다", "됩니다"), ("했다", "됐다"), ("했습니다", "됐습니다"))  # 가기로 한다, 가도 된다
IS = (("있다", "않다"), ("있습니다", "않습니다"), ("있었다", "않았다"), ("있었습니다", "않았습니다"))  # 가고 있지 않다
ROLE = re.compile(r"(?:[을를에이가은는와과께]|에게|한테|에서|(?<!기)로) $")  # before one word that is no auxiliary
EXIST = (("있", "없"), ("재미있", "재미없"), ("맛있", "맛없"))
PLACE = re.compile(r"(?:[에이께]|에게|한테| 수|[^나너다라려아어여쳐 ]가) $")  # 집에 있다; 들어가 있다 is another 있다
SAID = re.compile(
    r"(?P<said>.*다)(?P<says>고 (?:말|생각|설명|대답|답|주장|이야기|얘기|약속|전)?(?:한다|합니다|했다|했습니다))$"
)

# Words that go with one polarity only: 아무 말도 한다 and 이미 끝나지 않았다 are not Korean.
ONE_WAY = re.compile(
    r"아무|전혀|절대|결코|별로|그다지|밖에|조금도|하나도|도무지|좀처럼|도저히|미처|차마|조차|커녕|이상 |더는 "
    r"|아직|누구도|어디에도|외에|한 \S+도 |어떤 \S+도 |지도 |(?<!\S)리가? |나위|어쩔|것도 |뿐|마다 "
    r"|(?<!\S)(?:이미|벌써|매우|아주|너무|정말|굉장히|훨씬|꽤|잘|가장|제일|반드시|꼭|겨우|간신히|드디어|마침내|결국|곧|당장"
    r"|흔쾌히|기꺼이|열심히|모두|전부|모든|항상|언제나|늘|매일|매주|매번|자주|다|더|각자|차라리|오히려|또|다시|여전히|계속)(?!\S)"
)
# Clauses that give a reason or a contrast: the opposite of 비싸서 사지 않는다 would be incoherent.
TIED = re.compile(
    r"(?:지만|는데|은데|인데|으나|니까|므로|느라|더라도|면서|다가),? |(?<![에께])서,? |[아어해라]도 (?!된|됩|됐)"
    r"|때문에|대신|덕분|탓에|위해|[다라자]며,? |(?:[없있싫많좋늦]어|바빠|아파|비싸|몰라|달라|싶어|려고),? |[가-힣]면,? "
)


def _forms(stem: str, joined: str, verb: bool) -> Iterator[tuple[str, str]]:
    """The forms of a predicate, each with its negation.

    Args:
        joined: its form in -아/어.
    """
    closed, past = final_of(stem) not in ("", "ㄹ"), with_final(joined, "ㅆ")
    if verb:
        yield f"{stem}는다" if closed else with_final(stem, "ㄴ") + "다", f"{stem}지 않는다"
    else:
        yield f"{stem}다", f"{stem}지 않다"
    yield f"{stem}습니다" if closed else with_final(stem, "ㅂ") + "니다", f"{stem}지 않습니다"
    for ending in ("다", "습니다"):
        yield past + ending, f"{stem}지 않았{ending}"
    for does, may in STYLES if verb else ():
        yield f"{joined}야 {does}", f"{stem}지 않아도 {may}"
        for decides in ("", "결정", "약속"):
            yield f"{stem}기로 {decides}{does}", f"{stem}지 않기로 {decides}{does}"
    for being, not_being in IS if verb else ():
        yield f"{stem}고 {being}", f"{stem}고 있지 {not_being}"


def _tables() -> tuple[dict[str, str], dict[str, str]]:
    """`(negations, affirmations)` of all forms; a form of two stems has no negation."""
    pairs = [
        pair
        for table in (VERBS, ADJECTIVES)
        for stem, joined in zip(table[::2], table[1::2], strict=True)
        for pair in _forms(stem, joined, table is VERBS)
    ]
    pairs += [(yes + end, no + end) for yes, no in EXIST for end in ("다", "습니다", "었다", "었습니다")]
    known: dict[str, set[str]] = defaultdict(set)
    for form, negation in pairs:
        known[form].add(negation)
    denied = {form: next(iter(negations)) for form, negations in known.items() if len(negations) == 1}
    affirmed = {negation: form for form, negation in pairs}
    for one, other in ("않는다", "못한다"), ("않습니다", "못합니다"), ("않았", "못했"):
        affirmed |= {no.replace(one, other): yes for no, yes in affirmed.items() if f"지 {one}" in no}
    return denied, affirmed


NEGATIONS, AFFIRMATIONS = _tables()


def negated(sentence: str) -> str | None:
    """The affirmative sentence negated as a Korean would; None if that is not surely known or it is negative.

    Args:
        sentence: one sentence without its full stop.
    """
    return _opposite(sentence, NEGATIONS)


def affirmed(sentence: str) -> str | None:
    """The negative sentence affirmed; None as for `negated`."""
    if (
        (short := re.search(r"(?<!\S)(?:안|못) (\S+)$", sentence))
        and short[1] in NEGATIONS
        and not TIED.search(sentence)
    ):
        return sentence[: short.start()] + short[1]
    return _opposite(sentence, AFFIRMATIONS)


def _opposite(sentence: str, table: dict[str, str]) -> str | None:
    if TIED.search(sentence) or ONE_WAY.search(sentence):
        return None
    if match := SAID.search(sentence):  # what is said, not that it is said
        made = _opposite(match["said"], table)
        return made and made + match["says"]
    for start in range(len(sentence)):
        tail, word = sentence[start:], sentence.rfind(" ", 0, start) + 1
        whole = start == word or (tail[0] in "하한합했해" and sentence[start - 1] != "못")  # 거절 + 한다
        if tail in table and whole:
            fits = PLACE if tail[0] in "있없" else ROLE if " " not in tail else re.compile("")
            return sentence[:start] + table[tail] if fits.search(sentence[:word]) else None
    return None
