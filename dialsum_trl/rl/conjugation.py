"""Korean predicates taken apart and put together: 만든다 is the stem 만들, 들었다 is 듣 or 들 and so nobody's.

A stem is named only when one alone can have the form; ValueError says that it is not known how a stem meets an ending.
"""

import re
from dataclasses import dataclass

from dialsum_trl.rl.hangul import final_of, is_hangul, parts, syllable, vowel_of, with_final, words

# Stems in ㄹ, which falls before ㄴ and ㅂ: 만드 of 만든다 alone does not say that it was there.
L_STEMS = frozenset(
    words(
        """
        거들 걸 곁들 길들 깔 깨물 끌 끼어들 날 내걸 내밀 널 놀 늘 다물 달 덜 돌 되돌 되팔 뒤틀 들 떠돌 떠들 떠밀
        뛰어들 만들 매달 맴돌 머물 모여들 몰 물 물들 밀 받들 벌 베풀 부풀 불 비틀 빌 살 스며들 시들 썰 알 얼 열 울
        이끌 잠들 저물 접어들 졸 줄어들 찌들 털 틀 팔 풀 허물 헐 흔들
        """
    )
)
# Stems in a vowel in which stems in ㄹ end as well; in ㅐ ㅔ ㅚ ㅟ and, in longer words, ㅣ, hardly one in ㄹ does.
OPEN_STEMS = frozenset(
    words(
        """
        가 가꾸 가두 가르 감추 갖추 거두 건너 겨루 고르 그만두 기르 까 깨어나 깨우 꼬 꾸 끄 끝나 끼우 나 나가 나누
        나르 나무라 나서 나오 나타나 낮추 내세우 놀라 누 누르 눈뜨 늘어나 늦추 다가오 다루 다투 달아나 담그 데우
        돌아서 두 두르 드러나 들르 들어서 들추 따 따르 떠나 떠오르 뜨 띄우 마르 만나 맞추 머무르 멈추 메우 모르 모으
        모자라 물러나 미루 바꾸 바라 바르 배우 벗어나 보 부르 부수 부추 비우 빛나 사 삼가 새우 생겨나 서 서두르 세우
        신나 싸 싸우 쏘 쓰 씌우 앞서 애쓰 오 오르 외우 이루 일어나 일어서 자 자라 자르 잠그 재우 저지르 조르 주 지나
        지우 짜 쫓겨나 찌르 차 채우 추 춤추 치르 치우 켜 키우 타 타오르 태어나 태우 트 펴 피우 혼나 화나 흐르 힘쓰
        """
    )
)
I_STEMS = frozenset(  # the verbs among words in 이; 의사이다 and 학생이었다 are a noun and the copula
    words(
        """
        곁들이 기울이 길들이 깎이 꼬이 끄덕이 끓이 녹이 높이 놓이 덮이 들이 망설이 먹이 모이 받아들이 벌이 보이 붙이
        섞이 선보이 속삭이 속이 숙이 쌓이 쓰이 움직이 죽이 줄이 트이
        """
    )
)
SHORT_STEMS = frozenset(words("치 끼 찌"))  # of one syllable in ㅣ; 밀 빌 길 질 stand beside 미 비 기 지
CLOSED_K = frozenset(words("먹 막 적 죽 녹 속 식 익 찍 박 썩 묵"))  # 세탁기로 is no verb 세탁
SECOND_VERBS = frozenset(words("가 오 주 보 서 두"))  # after a verb in -아/어: 가져가다, 데려오다, 알려주다, 물어보다
ADJECTIVES = frozenset(
    words(
        """
        가깝 가늘 가볍 강하 같 거칠 고맙 고프 괜찮 괴롭 굵 귀엽 귀찮 그립 급하 기쁘 길 깊 나쁘 낮 낯설 넓 높 느리 늦
        다르 덥 독하 두껍 두렵 둥글 드물 뜨겁 많 맑 맛없 맛있 맵 멀 멋없 멋있 무겁 무섭 밉 바쁘 반갑 밝 배고프
        부드럽 부럽 비싸 빠르 새롭 서툴 쉽 슬프 시끄럽 싫 싱겁 싶 아깝 아프 약하 얇 얕 어둡 어렵 어리 예쁘 외롭 작
        재미없 재미있 적 젊 좁 좋 즐겁 짧 차갑 착하 춥 친하 크 편하 흐리 흔하 힘들
        """
    )
)

# How a stem in ㄷ, ㅂ or ㅅ meets a vowel: those that change, and those that stay. Of the others it is not known.
CHANGED = {
    "ㄷ": frozenset(words("듣 알아듣 엿듣 싣 깨닫 일컫 묻 걷 붇")),
    "ㅂ": words(
        """
        가깝 가볍 고맙 괴롭 굽 귀엽 그립 눕 답 더럽 덥 돕 두껍 두렵 뜨겁 롭 맵 무겁 무섭 밉 반갑 부드럽 부럽 쉽 스럽
        시끄럽 싱겁 아깝 안타깝 어둡 어렵 외롭 줍 즐겁 지겹 차갑 춥
        """
    ),
    "ㅅ": words("짓 낫 붓 잇 긋 젓"),
}
KEPT = {
    "ㄷ": words("받 닫 믿 얻 쏟 뻗 굳 뜯"),
    "ㅂ": words("입 잡 집 접 씹 뽑 업 좁 뵙"),
    "ㅅ": words("웃 씻 벗 빗 솟 빼앗"),
    "ㅎ": words("좋 놓 넣 쌓 낳 닿 찧"),
}
TWO_WAYS = frozenset(("묻", "걷"))  # 물었다 asked, 묻었다 buried; 걸었다 walked, 걷었다 rolled up
DOUBLED = words("부르 고르 모르 누르 자르 오르 흐르 기르 나르 조르 바르 찌르 두르 머무르 가르 다르 빠르 저지르 마르")
DROPPED = ("따르", "치르", "들르", "다다르")
UNSURE = {  # after such a word it may be a rarer verb: 전구를 간다 (갈다), 수가 준다 (줄다), 땅을 판다 (파다)
    "가": re.compile(r"^(?!여행|학교|소풍|출장|휴가|산책).*[을를]$"),
    "주": re.compile(r"[이가]$"),
    "빌": re.compile(r"[이가]$"),
    "팔": re.compile(r"^(?:땅|구멍|굴|우물)을$"),
    "쓰": re.compile(r"^(?:바닥|마당|눈|낙엽)을$"),
}
NO_PREDICATE = frozenset(words("않 못하 말 아니 못되 안되 그렇 어떻 이렇 잘하"))
OPPOSITES = {"있": "없", "알": "모르", "재미있": "재미없", "맛있": "맛없", "멋있": "멋없"}
OPPOSITES |= {other: stem for stem, other in OPPOSITES.items()}
BRIGHT = "ㅏㅗㅑ"  # a stem with one of these takes 아, any other 어
JOINED = {"ㅣ": "ㅕ", "ㅗ": "ㅘ", "ㅜ": "ㅝ"}  # 마시어 마셔, 오아 와, 주어 줘
APART = {"ㅏ": "ㅏㅡ", "ㅓ": "ㅓㅡ", "ㅐ": "ㅐ", "ㅔ": "ㅔ", "ㅕ": "ㅣㅕ", "ㅘ": "ㅗ", "ㅝ": "ㅜ", "ㅙ": "ㅚ"}


@dataclass(frozen=True)
class Form:
    """A predicate: `먹었습니다` is `먹`, past, formal. `verb` is False of adjectives (비싸다 for 비싼다)."""

    stem: str
    past: bool = False
    formal: bool = False
    verb: bool = True

    def text(self) -> str:
        """The form itself; raises ValueError when it is not known how the stem meets the ending."""
        if self.past:
            return with_final(before_vowel(self.stem), "ㅆ") + ("습니다" if self.formal else "다")
        open_ = final_of(self.stem) in ("", "ㄹ")
        if self.formal:
            return with_final(self.stem, "ㅂ") + "니다" if open_ else f"{self.stem}습니다"
        if not self.verb:
            return f"{self.stem}다"
        return with_final(self.stem, "ㄴ") + "다" if open_ else f"{self.stem}는다"

    def opposite(self) -> "Form":
        """The word that says the opposite (있다 없다, 알다 모르다), else `-지 않다` in the same tense and style."""
        if self.stem in OPPOSITES:
            return Form(OPPOSITES[self.stem], self.past, self.formal, self.stem in ("알", "모르"))
        return Form(f"{self.stem}지 않", self.past, self.formal, self.verb)


def like(ending: str, stem: str, verb: bool = True) -> str:
    """A stem in the tense and style of an ending: `("했습니다", "되")` -> `됐습니다`; raises as `Form.text`."""
    formal = ending.endswith("니다")
    bare = ending.removesuffix("습니다") if formal else ending.removesuffix("다")
    past = final_of(bare) == "ㅆ" and not bare.endswith("있")
    return Form(stem, past, formal, verb).text()


def change_of(stem: str) -> str:
    """The consonant that changes before a vowel, empty when none does; raises ValueError when it is not known."""
    final = final_of(stem)
    if final in CHANGED and (stem in CHANGED[final] if final == "ㄷ" else stem.endswith(CHANGED[final])):
        return final
    if final in KEPT and not stem.endswith(KEPT[final]):
        raise ValueError(stem)
    return ""


def before_vowel(stem: str) -> str:
    """The form in -아/어: 가, 먹어, 들어, 도와, 불러, 해; raises ValueError when it is not known."""
    if stem.endswith(("하", "되")):
        return stem[:-1] + ("해" if stem.endswith("하") else "돼")
    lead, vowel, final = parts(stem[-1])
    if final:
        return _closed_before_vowel(stem, "아" if vowel in BRIGHT else "어")
    if vowel == "ㅡ":
        return _eu_before_vowel(stem, lead)
    if stem == "아니" or vowel in "ㅟㅢ" or (vowel == "ㅚ"):
        return f"{stem}어"
    if vowel in JOINED:
        return stem[:-1] + syllable(lead, JOINED[vowel])
    if vowel not in "ㅏㅓㅐㅔㅕ":
        raise ValueError(stem)
    return stem


def _closed_before_vowel(stem: str, ending: str) -> str:
    change = change_of(stem)
    if change == "ㅂ":
        return with_final(stem, "") + ("와" if stem.endswith("돕") else "워")
    return (with_final(stem, {"ㄷ": "ㄹ", "ㅅ": ""}[change]) if change else stem) + ending


def _eu_before_vowel(stem: str, lead: str) -> str:
    bright = vowel_of(stem[:-1]) in tuple(BRIGHT)
    if stem.endswith(DOUBLED):
        return with_final(stem[:-1], "ㄹ") + ("라" if bright else "러")
    if stem.endswith("르") and not stem.endswith(DROPPED):
        raise ValueError(stem)  # 이르다: 이르러, 일러
    return stem[:-1] + syllable(lead, "ㅏ" if bright else "ㅓ")


def future(stem: str) -> str:
    """The form in -(으)ㄹ: 갈, 먹을, 만들, 들을, 도울; raises ValueError when it is not known."""
    if final_of(stem) in ("", "ㄹ"):
        return with_final(stem, "ㄹ")
    change = change_of(stem)
    bare = with_final(stem, {"ㄷ": "ㄹ", "ㅅ": "", "ㅂ": ""}[change]) if change else stem
    return f"{bare}울" if change == "ㅂ" else f"{bare}을"


def is_stem(text: str) -> bool:
    """Whether this is a stem that is known, or of a shape in which there are no others."""
    if not is_hangul(text) or text in NO_PREDICATE:
        return False
    final, vowel = final_of(text), vowel_of(text)
    if text.endswith(("하", "되")) or text in ADJECTIVES or text in L_STEMS or text in OPEN_STEMS:
        return True
    if final:
        return final not in "ㄹㅇ" and (final != "ㄱ" or text[-1] in CLOSED_K) and (final != "ㄴ" or text[-1] in "안신")
    if (
        text[-1] in SECOND_VERBS
        and len(text) > 1
        and not final_of(text[:-1])
        and vowel_of(text[:-1]) in "ㅏㅓㅐㅔㅕㅘㅝ"
    ):
        return True
    if vowel == "ㅣ":
        return (
            any(text.endswith(stem) for stem in I_STEMS) if text[-1] == "이" else len(text) > 1 or text in SHORT_STEMS
        )
    return vowel in "ㅐㅔㅚㅟ"


def _closed_by_ending(bare: str) -> set[str]:
    """The stems that are `bare` before ㄴ, ㅂ or ㄹ: 만드 of 만들, 사 of 사 or 살."""
    with_l = with_final(bare, "ㄹ")
    return {bare} & {bare if is_stem(bare) else ""} | ({with_l} if with_l in L_STEMS or with_l in ADJECTIVES else set())


def of_vowel_form(form: str) -> set[str]:
    """The stems whose form in -아/어 is this one: 가 of 가, 먹어 of 먹, 들어 of 듣 and 들."""
    if not is_hangul(form):
        return set()
    lead, vowel, final = parts(form[-1])
    if final:
        return set()
    bare, end = form[:-1], final_of(form[:-1])
    if form.endswith(("해", "하여")):
        return {f"{form.removesuffix('해').removesuffix('하여')}하"}
    found = {bare + syllable(lead, other) for other in APART.get(vowel, "")}
    if bare and form[-1] in "라러" and end == "ㄹ":
        found.add(with_final(bare, "") + "르")
    if bare and form[-1] in "아어":
        found |= {bare} | ({with_final(bare, "ㄷ")} if end == "ㄹ" else {with_final(bare, "ㅅ")} if not end else set())
    if bare and form[-1] in "와워" and not end:
        found.add(with_final(bare, "ㅂ"))
    return {stem for stem in found if is_stem(stem) and _meets(stem, form)}


def _meets(stem: str, form: str) -> bool:
    try:
        joined = before_vowel(stem)
    except ValueError:
        return False
    apart = stem + ("아" if vowel_of(stem) in BRIGHT else "어")  # 보아 beside 봐, 되어 beside 돼
    return form == joined or (form == apart and not final_of(stem) and vowel_of(stem) in "ㅗㅜㅣㅚ")


def only(stems: set[str], before: str = "") -> str | None:
    """The one stem, or that of two which the word before tells (사과를 산다, 서울에 산다); else None."""
    if stems == {"사", "살"}:
        return (
            "사"
            if before.endswith(("을", "를"))
            else "살"
            if re.search(r"(?:[^에]에|함께|같이|혼자)$", before)
            else None
        )
    if stems == {"나", "날"}:
        known = ("화가", "열이", "땀이", "기침이", "소리가", "사고가", "생각이", "차이가", "눈물이", "냄새가")
        return "나" if before in known else None
    return next(iter(stems)) if len(stems) == 1 else None


def take_apart(word: str, before: str = "") -> Form | None:
    """The stem and the form of a predicate at the end of a sentence; None when there is not exactly one.

    Args:
        word: `먹는다`, `갔습니다`, `비싸다`.
        before: the word before it, which sometimes tells two stems apart.
    """
    if not is_hangul(word) or not word.endswith("다"):
        return None
    form = _of_past(word, before) or (_of_formal(word, before) if word.endswith("니다") else _of_plain(word, before))
    if form is None or form.stem in NO_PREDICATE:
        return None
    return None if form.stem in UNSURE and UNSURE[form.stem].search(before) else form


def _of_plain(word: str, before: str) -> Form | None:
    bare = word[:-1]
    if (
        bare in OPPOSITES
        or bare in ADJECTIVES
        or bare.endswith(("스럽", "롭"))
        or (bare.endswith("하") and len(bare) > 2)
    ):
        return Form(bare, verb=False)
    if word.endswith("는다") and final_of(bare[:-1]) not in ("", "ㄹ", "ㅆ"):
        return Form(bare[:-1])
    if final_of(bare) == "ㄴ":
        stem = only(_closed_by_ending(with_final(bare, "")) - ADJECTIVES, before)
        return Form(stem) if stem else None
    return None


def _of_formal(word: str, before: str) -> Form | None:
    bare = word[:-2]
    if word.endswith("습니다"):
        bare = word[:-3]
        known = bare in OPPOSITES or final_of(bare) not in ("", "ㄹ", "ㅆ")
        return Form(bare, formal=True, verb=bare not in OPPOSITES) if known else None
    if final_of(bare) != "ㅂ":
        return None
    stem = only(_closed_by_ending(with_final(bare, "")), before)
    return Form(stem, formal=True) if stem else None


def _of_past(word: str, before: str) -> Form | None:
    formal = word.endswith("습니다")
    bare = word.removesuffix("습니다") if formal else word[:-1]
    if final_of(bare) != "ㅆ" or bare.endswith(("있", "겠")):
        return None
    stem = only(of_vowel_form(with_final(bare, "")), before)
    return Form(stem, past=True, formal=formal) if stem else None


def of_future(form: str) -> str | None:
    """The one stem whose form in -(으)ㄹ this is; None when there is none or more."""
    if not is_hangul(form) or final_of(form) != "ㄹ":
        return None
    stems = _closed_by_ending(with_final(form, ""))
    bare = form[:-1]
    if bare and form.endswith("을"):
        stems = {bare, with_final(bare, "ㄷ"), with_final(bare, "ㅅ")}
    elif bare and form.endswith("울"):
        stems |= {with_final(bare, "ㅂ")}
    return only({stem for stem in stems if is_stem(stem) and _becomes(stem, form)})


def _becomes(stem: str, form: str) -> bool:
    try:
        return future(stem) == form
    except ValueError:
        return False
