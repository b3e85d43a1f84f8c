"""Korean sentences negated, and negative ones affirmed: 동의한다 and 동의하지 않는다, 갈 수 없다 and 갈 수 있다.

A negative sentence shows its stem (가지 않는다), an affirmative one often not (산다 is of 사 or of 살): of these 하다
and 있다 alone are negated.
"""

import re
from collections.abc import Callable

from dialsum_trl.rl.hangul import FIRST, final_of, with_final

Change = Callable[[re.Match], str | None]

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
    r"|아니라,? |아닌 "
)
SAID = re.compile(
    r"(?P<said>.*다)(?P<says>고 (?:말|생각|설명|대답|답|주장|이야기|얘기|약속|전)?(?:한다|합니다|했다|했습니다))$"
)
DECIDES = r"(?P<decides>(?:결정|약속)?(?:한다|합니다|했다|했습니다))"
THERE = r"(?P<there>(?:[에이께]|에게|한테| 수|[^나너다라려아어여쳐 ]가) |재미|맛)"  # 들어가 있다 is another 있다
ENDING = r"(?P<ending>다|습니다|었다|었습니다)"
ROLE = r"(?P<role>(?:[을를에이가은는와과께]|에게|한테|에서|(?<!기)로) (?:[가-힣]+(?<!못))?)"  # no auxiliary: 하게 한다
DOES_NOT = {"한다": "않는다", "합니다": "않습니다", "했다": "않았다", "했습니다": "않았습니다", "하다": "않다"}
# Vowels by their number in Unicode: what one becomes before 아 or 어 (보 봐, 마시 마셔), and those that 아 follows
JOINED, BRIGHT = {0: 0, 1: 1, 4: 4, 5: 5, 6: 6, 8: 9, 13: 14, 20: 6}, (0, 2, 8)


def negated(sentence: str) -> str | None:
    """The affirmative sentence negated as a Korean would; None if that is not surely known or it is negative.

    Args:
        sentence: one sentence without its full stop.
    """
    return _opposite(sentence, NEGATING)


def affirmed(sentence: str) -> str | None:
    """The negative sentence affirmed; None as for `negated`."""
    return _opposite(sentence, AFFIRMING)


def _opposite(sentence: str, changes: dict[re.Pattern, Change]) -> str | None:
    if TIED.search(sentence) or ONE_WAY.search(sentence):
        return None
    if match := SAID.search(sentence):  # what is said, not that it is said
        made = _opposite(match["said"], changes)
        return made and made + match["says"]
    for pattern, change in changes.items():
        if match := pattern.search(sentence):
            made = change(match)
            return made and sentence[: match.start()] + made
    return None


def _without_not(match: re.Match) -> str | None:
    """`가지 않는다` -> `간다`; None where it is not known how the stem meets the ending."""
    stem, negation = match["stem"], match["not"]
    final, formal = final_of(stem), negation.endswith("니다")
    if negation == "않다":
        return f"{stem}다"
    if "았" in negation or "했" in negation:
        past = _past(stem)
        return past and past + ("습니다" if formal else "다")
    if final in ("", "ㄹ"):
        return with_final(stem, "ㅂ") + "니다" if formal else with_final(stem, "ㄴ") + "다"
    return f"{stem}습니다" if formal else f"{stem}는다"


def _past(stem: str) -> str | None:
    """`가` -> `갔`, `마시` -> `마셨`, `먹` -> `먹었`; None of stems that may change (듣, 돕, 짓, 모르, 쓰)."""
    vowel, final = (ord(stem[-1]) - FIRST) // 28 % 21, final_of(stem)
    if stem.endswith("하"):
        return f"{stem[:-1]}했"
    if final:
        return None if final in "ㄷㅂㅅㅎ" else stem + ("았" if vowel in BRIGHT else "었")
    if vowel not in JOINED or stem.endswith("푸"):
        return None
    return with_final(stem[:-1] + chr(ord(stem[-1]) + 28 * (JOINED[vowel] - vowel)), "ㅆ")


def _as(form: str) -> Change:
    return lambda match: form.format(**match.groupdict())


AFFIRMING: dict[re.Pattern, Change] = {
    re.compile(rf"(?P<stem>[가-힣]+)지 않기로 {DECIDES}$"): _as("{stem}기로 {decides}"),
    re.compile(r"(?P<stem>[가-힣]+)지 (?P<not>(?:않는|못한|(?:않|않았|못했)(?:습니)?)다|못합니다)$"): _without_not,
    re.compile(r"(?<!\S)(?:안|못) (?P<word>(?![된됩됐])[가-힣]+다)$"): _as("{word}"),
    re.compile(rf"{THERE}없{ENDING}$"): _as("{there}있{ending}"),
}
NEGATING: dict[re.Pattern, Change] = {
    re.compile(rf"(?P<stem>[가-힣]*하)기로 {DECIDES}$"): _as("{stem}지 않기로 {decides}"),
    re.compile(rf"{THERE}있{ENDING}$"): _as("{there}없{ending}"),
    re.compile(rf"{ROLE}(?P<does>{'|'.join(DOES_NOT)})$"): lambda m: f"{m['role']}하지 {DOES_NOT[m['does']]}",
}
