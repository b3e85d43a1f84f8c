"""Korean sentences negated, and negative ones affirmed: 간다 and 가지 않는다, 할 수 없다 and 할 수 있다."""

import re
from collections.abc import Callable

from dialsum_trl.rl.conjugation import (
    OPPOSITES,
    TWO_WAYS,
    before_vowel,
    future,
    is_stem,
    like,
    of_future,
    of_vowel_form,
    only,
    take_apart,
)
from dialsum_trl.rl.hangul import final_of, is_hangul, read_final

Change = Callable[[re.Match], str | None]

SAYS = (
    r"(?P<says>(?:말|생각|설명|대답|답|주장|전|이야기|얘기|제안|약속|부탁|권유|권|조언|충고|요청)?(?:한다|합니다|했다|했습니다)"
    r"|알려 ?(?:준다|줍니다|줬다|줬습니다|주었다|주었습니다)|느낀다|느낍니다|덧붙인다|덧붙입니다)"
)
DECIDES = r"(?P<decides>(?:결정|약속|결심|합의)?(?:한다|합니다|했다|했습니다)|정한다|정합니다|정했다|정했습니다)"
IS = r"(?P<is>있다|있습니다|있었다|있었습니다)"
IS_NOT = r"(?P<is>없다|없습니다|없었다|없었습니다)"
NOT = r"(?P<not>(?:않는|않|않았|못한|못했)다|(?:않|않았|못했)습니다|못합니다)"
WILL = r"(?P<will>(?:것|예정|계획|생각)(?:이다|입니다|이었다|이었습니다)|겁니다)"

# Words that go with one polarity only: 아무 말도 한다 and 이미 끝나지 않았다 are not Korean.
ONE_WAY = re.compile(
    r"아무|전혀|절대|결코|별로|그다지|밖에|조금도|하나도|도무지|좀처럼|도저히|미처|차마|조차|커녕|이상 |더는 |누구도"
    r"|어디에도|외에|한 \S+도 |어떤 \S+도 |지도 |(?<!\S)리가? |나위|어쩔|것도 |뿐|마다 "
    r"|(?<!\S)(?:이미|벌써|매우|아주|너무|정말|무척|굉장히|몹시|훨씬|꽤|잘|가장|제일|반드시|꼭|겨우|간신히|드디어|마침내|결국"
    r"|곧|당장|바로|흔쾌히|기꺼이|열심히|모두|전부|모든|항상|언제나|늘|매일|매주|매번|자주|다|더|각자|얼른|빨리|그냥|차라리"
    r"|오히려|또|다시|여전히|계속|최대한|가능한|먼저)(?!\S)"
)
NOT_YET = re.compile(r"아직")  # 아직 오지 않았다, and 아직 왔다 is not Korean
# Clauses that give a reason or a contrast: the opposite of 비싸서 사지 않는다 would be incoherent.
TIED = re.compile(
    r"(?:지만|는데|은데|인데|으나|니까|므로|느라|더라도|면서|다가),? |(?<![에께])서,? |[아어해라]도 (?!된|됩|됐|되)"
    r"|때문에|대신|덕분|탓에|위해|[다라자]며,? |(?:[없있싫많좋늦]어|바빠|아파|비싸|몰라|달라),? "
    r"|싶어,? (?!한|하|합|했)|려고,? (?!한|하|합|했)|[가-힣]면,? "
)
AMONG_PLACES = re.compile(r"[가-힣](?:에|에는|에도|이|가|도|은|는|만|께|에게|한테)$")  # 집에 있다, 친구가 있다
# 앉아 있다, 열려 있다, 들어가 있다
IN_STATE = re.compile(r"(?:^(?:서|나|가|와|일어나|나타나|나와|나가)|[아어여려혀겨져쳐켜펴워춰돼해]|[어아려와여져]가)$")
NO_NOUN = ("뿐", "것", "모양", "셈", "법", "참", "지경", "따름", "노릇", "편", "마찬가지", "거", "중")
IS_NO = {"이다": "아니다", "입니다": "아닙니다"}
IS_NO |= dict.fromkeys(("이었다", "였다"), "아니었다") | dict.fromkeys(("이었습니다", "였습니다"), "아니었습니다")
HALF_VERBS = ("버리", "시작하", "시작되", "계속하", "계속되")  # after another verb: 먹어 버린다, 하기 시작한다


def opposite(sentence: str) -> str | None:
    """The sentence negated, or affirmed if it is negative, as a Korean would; None if that is not surely known.

    Args:
        sentence: one sentence without its full stop.
    """
    if TIED.search(sentence) or ONE_WAY.search(sentence):
        return None
    for pattern, change in (*AFFIRMING, *NEGATING):
        if match := pattern.search(sentence):
            try:
                made = change(match)
            except ValueError:  # it is not known how a stem meets its ending
                return None
            return None if made is None else sentence[: match.start()] + made
    return None


def is_negative(sentence: str) -> bool:
    """Whether the sentence is negative."""
    return any(pattern.search(sentence) for pattern, _ in AFFIRMING)


def _affirm(match: re.Match) -> str | None:
    """`하지 않는다` -> `한다`."""
    stem, ending = match["stem"], match["not"]
    if not is_hangul(stem) or (stem in TWO_WAYS and not ending.endswith("는다")) or NOT_YET.search(match.string):
        return None
    return like(ending, stem, verb=ending != "않다")


def _affirm_short(match: re.Match) -> str | None:
    """`안 간다` -> `간다`."""
    form = take_apart(match["word"])
    return None if form is None or form.stem.endswith("되") or NOT_YET.search(match.string) else match["word"]


def _there_is(match: re.Match) -> str | None:
    """`집에 없다` -> `집에 있다`."""
    word = match["word"]
    if not (word == "수" or AMONG_PLACES.search(word)) or NOT_YET.search(match.string):
        return None
    return f"{word} {like(match['is'], '있', verb=False)}"


def _is_a(match: re.Match) -> str | None:
    """`학생이 아니다` -> `학생이다`."""
    final = read_final(match["noun"])
    if final is None:
        return None
    ending = {"아니다": "이다", "아닙니다": "입니다", "아니었다": "이었다", "아니었습니다": "이었습니다"}[match["not"]]
    return match["noun"] + (ending if final else ending.replace("이다", "다").replace("이었", "였"))


def _affirm_duty(match: re.Match) -> str:
    """`가지 않아도 된다` -> `가야 한다`."""
    return f"{before_vowel(match['stem'])}야 {like(match['may'], '하')}"


def _other_said(match: re.Match) -> str | None:
    """`재미있다고 한다` -> `재미없다고 한다`: what is said, not that it is said."""
    made = opposite(match["said"])
    return None if made is None else f"{made}고 {match['says']}"


def _of_stem(made: str) -> Change:
    """A change of what stands before an ending that any stem takes as it is."""
    return lambda match: made.format(**match.groupdict()) if is_stem(match["stem"]) else None


def _is_not_doing(match: re.Match) -> str | None:
    """`하고 있다` -> `하고 있지 않다`, `알고 있다` -> `모르고 있다`."""
    stem = match["stem"]
    if stem in ("알", "모르"):
        return f"{OPPOSITES[stem]}고 {match['is']}"
    return f"{stem}고 {like(match['is'], '있지 않', verb=False)}" if is_stem(stem) else None


def _is_not(match: re.Match) -> str | None:
    """`집에 있다` -> `집에 없다`, `앉아 있다` -> `앉아 있지 않다`."""
    word = match["word"]
    if word in ("하나", "수도", "경우도", "때도"):
        return None
    if IN_STATE.search(word):
        return f"{word} {like(match['is'], '있지 않', verb=False)}"
    if word == "수" or AMONG_PLACES.search(word):
        return f"{word} {like(match['is'], '없', verb=False)}"
    return None


def _no_duty(match: re.Match) -> str | None:
    """`가야 한다` -> `가지 않아도 된다`."""
    stem = only(of_vowel_form(match["form"]))
    return None if stem is None else f"{stem}지 않아도 {like(match['must'], '되')}"


def _will_not(match: re.Match) -> str | None:
    """`갈 것이다` -> `가지 않을 것이다`."""
    stem = of_future(match["form"])
    return None if stem is None else f"{stem}지 않을 {match['will']}"


def _is_no(match: re.Match) -> str | None:
    """`학생이다` -> `학생이 아니다`."""
    form = take_apart(match[0])
    if form is not None:  # 보인다 said formally: 보입니다
        return form.opposite().text()
    noun, ending = match["noun"], match["is"]
    closed = bool(final_of(noun))
    if noun.endswith(NO_NOUN) or (closed if ending.startswith("였") else not closed and ending != "입니다"):
        return None
    return f"{noun}{'이' if closed else '가'} {IS_NO[ending]}"


def _not(match: re.Match) -> str | None:
    """`기다린다` -> `기다리지 않는다`, after a word that leaves it a predicate of its own."""
    before = match["before"] or ""
    last = before.strip()
    form = take_apart(match["word"], last)
    if form is None or form.stem.endswith(("만하", "듯하", "뻔하", "척하", "체하", "못하")):
        return None
    if form.stem == "하" and not re.search(r"(?:을|를|은|는|싶어|려고)$", last):
        return None  # 하게 한다, 하도록 한다, 할까 한다
    if form.stem == "되" and not re.search(r"(?:이|가|은|는)$", last):
        return None  # 하게 된다, 해도 된다
    if form.stem.endswith(HALF_VERBS) and last.endswith(("어", "아", "해", "기", "고")):
        return None
    return before + form.opposite().text()


AFFIRMING = tuple(
    (re.compile(f"{pattern}$"), change)
    for pattern, change in (
        (rf"(?P<stem>\S+)지 않기로 {DECIDES}", lambda match: f"{match['stem']}기로 {match['decides']}"),
        (rf"(?P<stem>\S+)지 (?:않|못하)고 {IS}", lambda match: f"{match['stem']}고 {match['is']}"),
        (rf"(?P<stem>\S+)지 않을 {WILL}", lambda match: f"{future(match['stem'])} {match['will']}"),
        (r"(?P<stem>\S+)지 않아도 (?P<may>된다|됩니다|됐다|됐습니다|되었다|되었습니다)", _affirm_duty),
        (rf"(?P<stem>\S+)지 {NOT}", _affirm),
        (rf"(?P<stem>\S+)지 않겠다고 {SAYS}", lambda match: f"{match['stem']}겠다고 {match['says']}"),
        (rf"(?P<stem>\S+)지 말자고 {SAYS}", lambda match: f"{match['stem']}자고 {match['says']}"),
        (rf"(?P<stem>\S*하)지 말라고 {SAYS}", lambda match: f"{match['stem']}라고 {match['says']}"),
        (rf"(?P<said>.*(?:지 (?:않는|않|않았|못한|못했)|없|없었)다)고 {SAYS}", _other_said),
        (rf"(?P<word>\S+) {IS_NOT}", _there_is),
        (r"(?P<noun>\S+)[이가] (?P<not>아니다|아닙니다|아니었다|아니었습니다)", _is_a),
        (r"(?<!\S)(?:안|못) (?P<word>\S+다)", _affirm_short),
    )
)
NEGATING = tuple(
    (re.compile(f"{pattern}$"), change)
    for pattern, change in (
        (rf"(?P<stem>[가-힣]+)기로 {DECIDES}", _of_stem("{stem}지 않기로 {decides}")),
        (rf"(?P<stem>[가-힣]+)고 {IS}", _is_not_doing),
        (rf"(?P<word>\S+) {IS}", _is_not),
        (r"(?P<form>[가-힣]+)야(?:만)? (?P<must>한다|합니다|했다|했습니다)", _no_duty),
        (rf"(?P<form>\S+) {WILL}", _will_not),
        (rf"(?P<stem>[가-힣]+)겠다고 {SAYS}", _of_stem("{stem}지 않겠다고 {says}")),
        (rf"(?P<stem>[가-힣]+)자고 {SAYS}", _of_stem("{stem}지 말자고 {says}")),
        (rf"(?P<stem>[가-힣]*하)라고 {SAYS}", _of_stem("{stem}지 말라고 {says}")),
        (rf"(?P<said>.*[가-힣]다)고 {SAYS}", _other_said),
        (rf"(?<!려)고 {SAYS}", lambda match: None),  # 오라고 한다, 원이라고 한다
        (r"(?P<noun>[가-힣]+)(?P<is>이다|입니다|이었다|이었습니다|였다|였습니다)", _is_no),
        (r"(?P<before>\S+ )?(?P<word>[가-힣]+다)", _not),
    )
)
