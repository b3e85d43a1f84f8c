"""Synthetic Korean summaries for the speed measurements: realistic lengths and morphemes, no real rows."""

import random

_WHO = ["#Person1#", "#Person2#", "민수", "지영", "호킨스 의사", "스미스 씨", "직원", "손님"]
_WHEN = ["내일 아침", "다음 주 월요일에", "오늘 저녁", "회의가 끝난 뒤", "두 시간 뒤에", "주말마다", "매년"]
_WHAT = [
    "건강검진",
    "공항으로 가는 버스",
    "새 휴대전화",
    "파란색 셔츠",
    "면접 시간",
    "은행 계좌",
    "생일 선물",
    "여행 계획",
]
_DOES = [
    "물어본다",
    "예약하려고 한다",
    "받기를 권한다",
    "바꾸기로 한다",
    "설명해 준다",
    "취소했다고 말한다",
    "고르는 것을 돕는다",
]
_WHY = ["길이 막혀서", "시간이 없기 때문에", "친구가 추천해서", "가격이 너무 비싸서", "몸이 좋지 않아", ""]


def sentence(rng: random.Random) -> str:
    """One sentence of about 15 morphemes, from several million."""
    who, whom = rng.sample(_WHO, 2)
    words = [
        f"{who}은",
        f"{rng.randint(1, 60)}살 {whom}에게",
        rng.choice(_WHY),
        rng.choice(_WHEN),
        f"{rng.choice(_WHAT)}을",
    ]
    return " ".join([word for word in words if word] + [rng.choice(_DOES)]) + "."


def summaries(rng: random.Random, count: int) -> list[str]:
    """`count` summaries of one dialogue: they share some sentences, as references and samples do."""
    pool = [sentence(rng) for _ in range(5)]
    return [" ".join([*rng.sample(pool, rng.randint(1, 2)), sentence(rng)]) for _ in range(count)]
