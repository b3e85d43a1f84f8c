"""Unfaithful versions of summaries: one false statement in right Korean, or none."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_trl.rl.faithfulness import KINDS, negatives
from dialsum_trl.rl.hangul import FINALS, final_of, read_final, with_final
from dialsum_trl.rl.negation import affirmed, negated
from dialsum_trl.rl.particles import follow, rename, replace, wrong_particle
from dialsum_trl.rl.quantities import Usual, quantities


def versions(kind, text, seeds=60, **of):
    """Every version that some seed makes."""
    return {KINDS[kind](text, random.Random(seed), **of) for seed in range(seeds)}


# --- particles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "final"),
    [
        *[(f"#Person{n}#", final) for n, final in enumerate(("ㄹ", "", "ㅁ", "", "", "ㄱ", "ㄹ"), 1)],
        *(("#Person10#", "ㅂ"), ("#Person12#", ""), ("책", "ㄱ"), ("사과", ""), ("물", "ㄹ"), ("“책”", "ㄱ")),
        *(
            ("3", "ㅁ"),
            ("10", "ㅂ"),
            ("200", "ㄱ"),
            ("3,000", "ㄴ"),
            ("50000", "ㄴ"),
            ("0", "ㅇ"),
            ("1.0", "ㅇ"),
            ("0.2", ""),
        ),
        *(
            ("100000000", "ㄱ"),
            ("30%", ""),
            ("5kg", "ㅁ"),
            ("KTX", ""),
            ("TV", ""),
            ("LCD", ""),
            ("HTML", "ㄹ"),
            ("SPAN", "ㄴ"),
        ),
        *(("#Email#", None), ("Kim", None), ("", None), ("?", None)),
    ],
)
def test_how_a_word_is_read(word, final):
    assert read_final(word) == final


@pytest.mark.parametrize(
    ("after", "closed", "opened", "of_l"),
    [
        ("은 간다", "은", "는", "은"),
        ("이 간다", "이", "가", "이"),
        ("을 본다", "을", "를", "을"),
        ("과 간다", "과", "와", "과"),
        ("과의 약속", "과의", "와의", "과의"),
        ("으로 간다", "으로", "로", "로"),
        ("으로부터 듣는다", "으로부터", "로부터", "로부터"),
        ("으로서는", "으로서는", "로서는", "로서는"),
        ("이랑 간다", "이랑", "랑", "이랑"),
        ("이나 간다", "이나", "나", "이나"),
        ("이든 좋다", "이든", "든", "이든"),
        ("이라고 한다", "이라고", "라고", "이라고"),
        ("이라는 말", "이라는", "라는", "이라는"),
        ("이라면 좋다", "이라면", "라면", "이라면"),
        ("이었다", "이었다", "였다", "이었다"),
        ("이에요", "이에요", "예요", "이에요"),
        ("아, 가자", "아", "야", "아"),
        ("이야말로 온다", "이야말로", "야말로", "이야말로"),
    ],
)
def test_a_particle_takes_the_form_of_the_name_before_it(after, closed, opened, of_l):
    rest = after[len(closed) :]
    for name, form in (("#Person3#", closed), ("#Person2#", opened), ("#Person1#", of_l)):
        for given_form in {closed, opened}:
            assert follow(name, given_form + rest) == form + rest


@pytest.mark.parametrize(
    "after",
    ["에게 준다", "한테 준다", "의 책", "도 간다", "만 간다", "께 드린다", "하고 간다", "보다 크다", "까지", "", "."],
)
def test_a_particle_with_one_form_stays(after):
    assert follow("#Person1#", after) == follow("#Person2#", after) == follow("#Email#", after) == after


def test_a_particle_after_a_name_that_nobody_can_read_is_not_guessed():
    assert follow("#Email#", "을 쓴다") is None
    assert replace("#Person1#을 본다", 0, 9, "Kim") is None


NAMES = st.sampled_from([f"#Person{n}#" for n in range(1, 8)])
WORDS = st.text(st.characters(min_codepoint=ord("가"), max_codepoint=ord("힣")), min_size=1, max_size=4)
FORMS = st.sampled_from(
    re.findall("[가-힣]+", "은 는 이 가 을 를 과 와 으로 로 이랑 랑 이나 나 이라고 라고 으로부터 로부터")
)


@given(NAMES, FORMS, NAMES)
def test_renaming_there_and_back_gives_the_right_form_of_the_text(name, particle, other):
    right = name + follow(name, f"{particle} 있다.")
    there = rename(right, {name: other})
    assert wrong_particle(right) is None and wrong_particle(there) is None
    assert rename(there, {other: name}) == right


@given(WORDS, FORMS)
def test_the_form_follows_the_final_consonant_of_any_word(word, particle):
    made = follow(word, f"{particle} 있다")
    final = final_of(word)
    assert follow(word, made) == made
    closed = made.startswith(("은", "이 ", "을", "과", "으로", "이랑", "이나", "이라"))
    assert closed == (final != "" and not (final == "ㄹ" and made.startswith("로")))


@given(WORDS, st.sampled_from(FINALS))
def test_a_word_takes_another_final_consonant(word, final):
    assert final_of(with_final(word, final)) == final
    assert with_final(with_final(word, final), final_of(word)) == word


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("#Person1#은 #Person2#를 본다.", None),
        ("#Person2#은 간다.", "#Person2#"),
        ("#Person1#는 간다.", "#Person1#"),
        ("#Person1#를 본다.", "#Person1#"),
        ("#Person1#으로 부른다.", "#Person1#"),
        ("#Person3#로 부른다.", "#Person3#"),
        ("#Person2# 은 간다.", "#Person2#"),
        ("#Person1# 은 #Email#을 쓴다.", None),
    ],
)
def test_a_wrong_particle_is_seen(text, wrong):
    seen = wrong_particle(text)
    assert seen is None if wrong is None else seen.startswith(wrong)


# --- speakers --------------------------------------------------------------------------------------------------------

SPEAKERS = [
    ("#Person1#은 #Person2#를 기다린다.", "#Person2#는 #Person1#을 기다린다."),
    ("#Person2#가 #Person1#을 부른다.", "#Person1#이 #Person2#를 부른다."),
    ("#Person1#은 #Person2#에게서 책을 빌린다.", "#Person2#는 #Person1#에게서 책을 빌린다."),
    ("#Person1#로부터 #Person2#가 편지를 받는다.", "#Person2#로부터 #Person1#이 편지를 받는다."),
    ("#Person3#은 #Person4#를 부른다.", "#Person4#는 #Person3#을 부른다."),
    ("#Person3#으로부터 #Person4#는 연락을 받는다.", "#Person4#로부터 #Person3#은 연락을 받는다."),
    ("#Person1#보다 #Person2#가 키가 크다.", "#Person2#보다 #Person1#이 키가 크다."),
    ("#Person1#만 남고 #Person2#는 떠난다.", "#Person2#만 남고 #Person1#은 떠난다."),
    ("#Person1#을 #Person2#가 데리러 간다.", "#Person2#를 #Person1#이 데리러 간다."),
    ("#Person1#이 #Person2#의 형이다.", "#Person2#가 #Person1#의 형이다."),
    ("#Person1#은 #Person2#를 만나러 간다.", "#Person2#는 #Person1#을 만나러 간다."),
    ("#Person1#은 #Person2#와 결혼하고 싶어 한다.", "#Person2#는 #Person1#과 결혼하고 싶어 한다."),
    ("#Person1#은 #Person2#와 함께 가자고 한다.", "#Person2#는 #Person1#과 함께 가자고 한다."),
    ("#Person1#은 감기 때문에 #Person2#와 만나지 못한다.", "#Person2#는 감기 때문에 #Person1#과 만나지 못한다."),
    ("#Person1#이라고 소개한 사람은 #Person2#다.", "#Person2#라고 소개한 사람은 #Person1#이다."),
    ("#Person2#랑 놀자고 #Person1#이 조른다.", "#Person1#이랑 놀자고 #Person2#가 조른다."),
    ("#Person1#은 커피를, #Person2#는 차를 마신다.", "#Person2#는 커피를, #Person1#은 차를 마신다."),
    (
        "#Person1#과 #Person2#는 만난다. #Person1#이 먼저 온다.",
        "#Person2#와 #Person1#은 만난다. #Person2#가 먼저 온다.",
    ),
    ("#Person1#과 #Person2#는 #Person2#의 일 때문에 늦는다.", "#Person2#와 #Person1#은 #Person1#의 일 때문에 늦는다."),
    ("#Person1#과 #Person2#는 #Person3#을 기다린다.", "#Person3#과 #Person2#는 #Person1#을 기다린다."),
    ("#Person1# 은 #Person2# 를 부른다.", "#Person2# 는 #Person1# 을 부른다."),
    ("#Person1#은 #Person2#에게 예약을 부탁합니다.", "#Person2#는 #Person1#에게 예약을 부탁합니다."),
    # still true, or of one speaker, or no right Korean to begin with
    ("#Person1#과 #Person2#는 내일 만난다.", None),
    ("#Person1#이랑 #Person2#는 친하다.", None),
    ("#Person1#하고 #Person2#는 산책한다.", None),
    ("#Person1#이나 #Person2#가 간다.", None),
    ("#Person1# 또는 #Person2#가 간다.", None),
    ("#Person1#, #Person2#는 동의한다.", None),
    ("#Person1#이든 #Person2#든 한 명이 온다.", None),
    ("#Person1#과 #Person2#의 의견이 같다.", None),
    ("#Person3#은 #Person1#과 #Person2#를 부른다.", "#Person2#는 #Person1#과 #Person3#을 부른다."),
    ("#Person1#은 #Person2#와 이야기한다.", None),
    ("#Person1#은 #Person2#와 결혼한다.", None),
    ("#Person1#은 #Person2#와 같은 회사에 다닌다.", None),
    ("#Person2#와 함께 #Person1#은 영화를 본다.", None),
    ("#Person1#은 #Person2#를 우연히 만난다.", None),
    ("#Person1#은 #Person2#를 닮았다.", None),
    ("#Person1#은 #Person2#를 만나기로 한다.", None),
    ("#Person1#은 #Person2#의 오랜 친구이다.", None),
    ("#Person1#은 학생이고 #Person2#도 학생이다.", None),
    ("#Person1#은 피자를 좋아한다. #Person2#도 피자를 좋아한다.", None),
    ("두 사람은 만난다.", None),
    ("#Person1#은 간다.", None),
    ("#Person1#는 #Person2#를 부른다.", None),
]


@pytest.mark.parametrize(("text", "expected"), SPEAKERS)
def test_two_speakers_change_places_where_that_says_something_else(text, expected):
    assert versions("speakers", text) == {expected}


@given(st.sampled_from([(text, expected) for text, expected in SPEAKERS if expected]))
def test_the_speakers_of_a_version_have_their_own_particles(case):
    assert wrong_particle(case[1]) is None


# --- numbers, times and dates ----------------------------------------------------------------------------------------

NUMBERS = [
    ("3시에 만난다.", "5시", "5시에 만난다."),
    ("오후 3시에 만난다.", "저녁 7시", "저녁 7시에 만난다."),
    ("한 시에 본다.", "두 시", "두 시에 본다."),
    ("아침 일곱 시에 본다.", "오후 두 시 반", "오후 두 시 반에 본다."),
    ("오전 10:30에 시작한다.", "오후 2:30", "오후 2:30에 시작한다."),
    ("08:15에 떠난다.", "20:05", "20:05에 떠난다."),
    ("5월에 간다.", "12월", "12월에 간다."),
    ("1월 31일에 본다.", "2월 28일", "2월 28일에 본다."),
    ("25일에 낸다.", "7일", "7일에 낸다."),
    ("3일 동안 쉰다.", "5일 동안", "5일 동안 쉰다."),
    ("2박 3일로 간다.", "3박 4일", "3박 4일로 간다."),
    ("나흘을 묵는다.", "이틀", "이틀을 묵는다."),
    ("30분 걸린다.", "10분", "10분 걸린다."),
    ("10명이 온다.", "7명", "7명이 온다."),
    ("열 명이 온다.", "네 명", "네 명이 온다."),
    ("2,000원이다.", "15,000원", "15,000원이다."),
    ("3만 5천 원을 낸다.", "12만 원", "12만 원을 낸다."),
    ("$30을 낸다.", "$50", "$50을 낸다."),
    ("100% 환불한다.", "30%", "30% 환불한다."),
    ("2024년에 왔다.", "2021년", "2021년에 왔다."),
    ("1.5리터를 산다.", "3.5리터", "3.5리터를 산다."),
    # another kind, or impossible
    ("3시에 만난다.", "오후 5시", None),
    ("3시에 만난다.", "3시간", None),
    ("아침 일곱 시에 만난다.", "두 시", None),
    ("두 시 삼십 분에 만난다.", "네 시 반", None),
    ("2024년에 왔다.", "3년", None),
    ("3개를 산다.", "1.5개", None),
    ("5천 원을 낸다.", "5,500원", None),
    ("3만 5천 원을 낸다.", "2천 원", None),
    ("1월에 본다.", "13월", None),
    ("3시에 본다.", "25시", None),
    ("10:30에 본다.", "25:70", None),
    ("100%이다.", "110%", None),
    # its place among the others of its kind
    ("10만 원에서 4만 원으로 깎는다.", "7만 원", "7만 원에서 4만 원으로 깎는다."),
    ("3시부터 5시까지 한다.", "4시", "4시부터 5시까지 한다."),
]


@pytest.mark.parametrize(("text", "other", "expected"), NUMBERS)
def test_a_number_becomes_one_of_the_same_kind_that_other_summaries_have(text, other, expected):
    found = versions("number", text, usual=Usual([f"{other}에 본다."]))
    assert found <= {expected, text.replace("4만", "7만"), text.replace("5시", "4시")} and expected in found


def test_without_other_summaries_there_are_no_values_to_draw():
    assert versions("number", "3시에 만난다.") == versions("weekday", "월요일에 본다.") == {None}


@pytest.mark.parametrize(
    "text",
    [
        "A4 용지를 산다.", "5G 요금제를 쓴다.", "4K TV를 산다.", "MP3를 듣는다.", "iPhone 15를 산다.",
        "코로나19에 걸렸다.", "010-1234-5678로 건다.", "1588-1234로 건다.", "119에 신고한다.", "1+1 행사이다.",
        "3~5일 걸린다.", "3 ~ 5일 걸린다.", "오후 3시~5시에 온다.", "3분의 1이 남는다.", "제3회 대회이다.",
        "0.5% 오른다.", "13월 1일에 온다.",
        "25:70에 온다.", "10월호를 산다.", "1인당 만 원이다.", "한두 명이 온다.", "두 번째 면접이다.",
        "한 교수가 말한다.", "한 번 해 본다.", "네 가방이다.", "하루에 만 원이다.", "둘은 만난다.",
        "#Person1#은 간다.", "1:1 상담을 한다.",
    ],
)  # fmt: skip
def test_what_is_no_amount_stays(text):
    assert quantities(text) == []


@pytest.mark.parametrize(
    ("text", "new", "expected"),
    [
        ("오후 2시로 잡는다.", "오후 3시 반", "오후 3시 반으로 잡는다."),
        ("오후 3시 반으로 잡는다.", "오후 2시", "오후 2시로 잡는다."),
        ("오후 3시 반이라서 못 간다.", "오후 2시", "오후 2시라서 못 간다."),
        ("오후 2시는 어렵다.", "오후 3시 반", "오후 3시 반은 어렵다."),
    ],
)
def test_a_value_of_other_summaries_brings_its_particle(text, new, expected):
    usual = Usual([f"{new}에 본다."])
    assert versions("number", text, usual=usual) == {expected}


def test_values_are_drawn_as_often_as_other_summaries_have_them():
    usual = Usual(["오후 1시에 본다."] * 9 + ["오후 2시에 본다."])
    made = [KINDS["number"]("오후 4시에 본다.", random.Random(seed), usual=usual) for seed in range(300)]
    assert 0.8 < made.count("오후 1시에 본다.") / 300 < 0.97
    assert set(made) == {"오후 1시에 본다.", "오후 2시에 본다."}
    assert versions("number", "5월에 본다.", usual=usual) == {None}  # no other summary has a month


@pytest.mark.parametrize("text", ["10점 만점에 9점이다.", "5개 중 3개를 고른다.", "3분의 1이 남는다."])
def test_a_part_of_a_whole_stays(text):
    assert versions("number", text, usual=Usual(["7점이다.", "2개이다.", "5분이다."])) == {None}


@pytest.mark.parametrize(("kind", "values"), [("number", "3시|4시|5시"), ("weekday", "월요일|화요일|일요일")])
def test_the_new_value_does_not_stand_in_the_dialogue(kind, values):
    first, heard, other = values.split("|")
    usual = Usual([f"{heard}에 본다.", f"{other}에 본다."])
    assert versions(kind, f"{first}에 본다.", dialogue=f"{heard}쯤 봐.", usual=usual) == {f"{other}에 본다."}


def test_a_value_that_is_named_twice_stays():
    assert versions("number", "3시에 온다. 3시에 본다.", usual=Usual(["5시에 본다."])) == {None}


@given(st.text(max_size=60), st.integers(0, 10**6))
def test_no_text_breaks_a_kind(text, seed):
    for kind in KINDS:
        made = KINDS[kind](text, random.Random(seed))
        assert made is None or (made != text and wrong_particle(made) is None)
    assert all(text[found.start : found.end] == found.text for found in quantities(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("월요일에 본다.", {f"{day}요일에 본다." for day in "화수목금토일"}),
        (
            "월요일부터 수요일까지 쉰다.",
            {"화요일부터 수요일까지 쉰다."} | {f"월요일부터 {day}요일까지 쉰다." for day in "화목금토일"},
        ),
        ("공휴일에 본다.", {None}),
        ("토·일요일에 쉰다.", {None}),
        ("요일을 정한다.", {None}),
    ],
)
def test_a_day_of_the_week_becomes_another(text, expected):
    usual = Usual([f"{day}요일에 본다." for day in "월화수목금토일"])
    assert versions("weekday", text, 200, usual=usual) == expected


# --- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "dialogue", "expected"),
    [
        ("#Person1#은 떠난다.", "", {"#Person2#는 떠난다."}),
        ("#Person2#가 표를 산다.", "", {"#Person1#이 표를 산다."}),
        ("#Person2#는 #PhoneNumber#로 건다.", "", {"#Person1#은 #PhoneNumber#로 건다."}),
        ("#Person1#은 떠난다.", "#Person1#: 가.\n#Person3#: 응.", {"#Person3#은 떠난다."}),
        ("#Person1#은 #Person2#를 부른다.", "", {None}),
        ("#Person1#은 #Person2#를 부른다.", "#Person1#: 가.\n#Person2#: 응.", {None}),
        (
            "#Person1#은 #Person2#를 부른다.",
            "#Person1#: 가.\n#Person2#: 응.\n#Person3#: 네.",
            {"#Person3#은 #Person2#를 부른다.", "#Person1#은 #Person3#을 부른다."},
        ),
        ("#Person1#은 역에서 만나기로 한다.", "", {None}),
        ("#Person1#도 간다.", "", {None}),
        ("#Email#로 보낸다.", "", {None}),
        ("민수는 간다.", "", {None}),
    ],
)
def test_a_speaker_becomes_one_who_is_in_the_dialogue(text, dialogue, expected):
    assert versions("mask", text, dialogue=dialogue) == expected


# --- negation --------------------------------------------------------------------------------------------------------

BOTH_WAYS = [
    ("제안을 거절한다", "제안을 거절하지 않는다"),
    ("회의에 참석합니다", "회의에 참석하지 않습니다"),
    ("운동을 시작했습니다", "운동을 시작하지 않았습니다"),
    ("방이 깨끗하다", "방이 깨끗하지 않다"),
    ("도움이 필요합니다", "도움이 필요하지 않습니다"),
    ("집에 있다", "집에 없다"),
    ("시간이 있습니다", "시간이 없습니다"),
    ("자리가 있었다", "자리가 없었다"),
    ("가 본 적이 있다", "가 본 적이 없다"),
    ("혼자 갈 수 있다", "혼자 갈 수 없다"),
    ("영화가 재미있다고 한다", "영화가 재미없다고 한다"),
    ("자리가 있다고 말한다", "자리가 없다고 말한다"),
    ("커피를 좋아한다고 말한다", "커피를 좋아하지 않는다고 말한다"),
    ("드라마가 재미있다", "드라마가 재미없다"),
    ("함께 여행하기로 결정한다", "함께 여행하지 않기로 결정한다"),
]


@pytest.mark.parametrize(("text", "denied"), BOTH_WAYS)
def test_a_sentence_and_its_negation_are_each_others_opposite(text, denied):
    assert (negated(text), affirmed(denied)) == (denied, text)
    assert (affirmed(text), negated(denied)) == (None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("약을 먹지 않는다", "약을 먹는다"),
        ("집에 가지 않는다", "집에 간다"),
        ("친구를 기다리지 않는다", "친구를 기다린다"),
        ("케이크를 만들지 않는다", "케이크를 만든다"),
        ("문을 열지 않는다", "문을 연다"),
        ("노래를 부르지 않는다", "노래를 부른다"),
        ("음악을 듣지 않는다", "음악을 듣는다"),
        ("책을 읽지 않습니다", "책을 읽습니다"),
        ("케이크를 만들지 않습니다", "케이크를 만듭니다"),
        ("집에 가지 않았다", "집에 갔다"),
        ("책을 읽지 않았다", "책을 읽었다"),
        ("영화를 보지 않았다", "영화를 봤다"),
        ("물을 마시지 않았다", "물을 마셨다"),
        ("옷이 비싸지 않다", "옷이 비싸다"),
        ("책을 읽고 있지 않다", "책을 읽고 있다"),
        ("의자에 앉아 있지 않다", "의자에 앉아 있다"),
        ("문이 닫혀 있지 않았다", "문이 닫혀 있었다"),
        ("방에 들어가 있지 않다", "방에 들어가 있다"),
        ("내일 만나지 않기로 한다", "내일 만나기로 한다"),
        ("차를 팔지 않기로 결정했습니다", "차를 팔기로 결정했습니다"),
        ("올 것 같지 않다", "올 것 같다"),
        ("과제를 끝내지 못했다", "과제를 끝냈다"),
        ("여행에 가지 못한다", "여행에 간다"),
        ("그 말을 알지 못한다", "그 말을 안다"),
        ("오늘은 안 간다", "오늘은 간다"),
        ("버스를 못 탔다", "버스를 탔다"),
        ("함께 여행하지 못합니다", "함께 여행합니다"),
        ("소식이 알려지지 않았다", "소식이 알려졌다"),
    ],
)
def test_negative_sentences_that_no_affirmative_one_becomes(text, expected):
    assert affirmed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "아무 말도 하지 않았다", "전혀 모른다", "한 번도 가지 않았다", "갈 수밖에 없다", "어쩔 수 없다",
        "하나도 없다", "아직 오지 않았다", "이미 끝났다", "매일 운동한다", "잘 지낸다", "모두 동의한다",
        "반드시 간다", "더 이상 가지 않는다", "올 리가 없다", "비싸서 사지 않는다", "일 때문에 가지 못한다",
        "부탁하지만 거절한다", "비싸다며 거절한다", "늦으면 안 된다", "가도 된다", "음악을 들었다", "길을 물었다",
        "말을 걸었다", "음악을 들어야 한다", "길을 묻지 않았다", "가게에서 산다",
        "출근하게 한다", "찾게 된다", "오라고 한다", "하도록 한다", "갈까 한다", "먹어 버린다", "상관없다",
        "갈 수도 있다", "가게가 하나 있다", "여기로 정한다", "세탁기로 결정한다", "그는 의사다", "하는 중이다",
        "갈 뿐이다", "그럴 만하다", "가지 말아야 한다", "전구를 간다", "사과를 산다", "앉아 있다",
        "가서는 안 된다", "친구를 돕지 않았다", "일이 되지 않았다",
        "방에 들어가 있다",
        "", "가다", "#Email#",
    ],
)  # fmt: skip
def test_a_sentence_whose_opposite_nobody_would_write_stays(text):
    assert negated(text) is None and affirmed(text) is None


def test_few_affirmative_summaries_are_denied_and_every_negative_one_is_affirmed():
    made = [KINDS["negation"]("회의에 참석한다.", random.Random(seed)) for seed in range(1000)]
    assert set(made) == {None, "회의에 참석하지 않는다."}
    assert 60 < 1000 - made.count(None) < 140
    assert versions("negation", "약을 먹지 않는다.") == {"약을 먹는다."}


def test_the_last_sentence_that_has_an_opposite_is_turned():
    text = "#Person1#은 약을 먹지 않는다. 아무도 없다. 정말?"
    assert versions("negation", text) == {"#Person1#은 약을 먹는다. 아무도 없다. 정말?"}


# --- all kinds -------------------------------------------------------------------------------------------------------


def test_versions_follow_from_the_seed_alone_and_never_equal_the_summary():
    summary, usual = "#Person1#은 #Person2#에게 월요일 3시에 간다고 말한다.", Usual(["화요일 5시에 간다."])
    for seed in range(20):
        made = negatives(summary, random.Random(seed), usual=usual)
        assert made == negatives(summary, random.Random(seed), usual=usual)
        assert {kind for kind, _ in made} >= {"speakers", "number", "weekday"}
        assert all(text != summary for _, text in made)


@pytest.mark.parametrize("text", ["#Person2#은 3시에 온다.", "#Person1#를 월요일에 본다."])
def test_nothing_is_made_of_a_summary_whose_particles_are_wrong(text):
    assert all(negatives(text, random.Random(seed)) == [] for seed in range(10))
