# ruff: noqa: E501 (a Korean letter counts as two columns)
"""Among friends: a trip, moving house, a present, meeting up."""

from toy import words as w
from toy.scene import Outcome, Scene

FRIEND_SCENES = (
    Scene(
        "여행 계획",
        dict(
            friend=w.NAMES,
            friend2=w.NAMES,
            city=w.CITIES,
            day=w.DAYS,
            reason=w.REASONS,
            ride=("기차", "버스", "비행기", "자동차", "배"),
        ),
        (
            "?B: {friend:아}, 오랜만이야. 휴가 계획 있어? | {friend:아}, 요즘 어떻게 지내? 휴가 때 뭐 할 거야?",
            "A: {friend2:이랑} {day}에 {city:으로} 여행을 갈 거야. | {day}에 {friend2:과} 함께 {city:으로} 놀러 가려고.",
            "B: 와, 재미있겠다. 뭐 타고 가? | 정말? 거기까지 어떻게 가?",
            "A: {ride:으로} 가기로 했어. 너도 같이 갈래? | {ride:을} 탈 거야. 같이 가면 좋겠는데.",
        ),
        (
            Outcome(
                (
                    "B: 좋아, 나도 갈게. 그날은 시간이 있어. | 당연하지. 나도 데려가 줘.",
                    "?A: 잘됐다. 그럼 표를 같이 예약할게. | 좋아. 내가 준비할게.",
                ),
                (
                    "{A:은} {day}에 {friend2:과} {ride:으로} {city}에 가기로 했고 {B}도 함께 가기로 한다.",
                    "{B:은} {day}에 {friend2:과} 함께 {city:으로} {ride:을} 타고 여행을 가는 {A:을} 따라가기로 한다.",
                    "{A:이} {friend2:과} 가는 {city} 여행에 초대하자 {B:은} {day}에 {ride:으로} 같이 가겠다고 한다.",
                ),
                "{day} {city} 여행, {friend2:과} 함께, {ride} 이용, 모두 참석.",
                (
                    ("여행지", "어디로 여행을 가나요?", "{city}"),
                    ("날짜", "언제 떠나나요?", "{day}"),
                    ("동행", "누구와 함께 가나요?", "{friend2}"),
                    ("교통", "무엇을 타고 가나요?", "{ride}"),
                    ("초대", "누가 같이 가자고 했나요?", "{A}"),
                ),
            ),
            Outcome(
                (
                    "B: 가고 싶지만 {reason} 때문에 안 돼. | 미안해, {reason} 때문에 시간이 없어.",
                    "?A: 아쉽다. 다음에 같이 가자. | 그래, 다음 기회에 가자.",
                ),
                (
                    "{A:은} {day}에 {friend2:과} {ride:으로} {city}에 가자고 하지만 {B:은} {reason} 때문에 거절한다.",
                    "{B:은} {reason} 때문에 {A:과} {friend2}의 {day} {city} 여행에 함께 가지 못한다.",
                    "{A:이} {friend2:과} 가는 {city} 여행에 초대하지만 {B:은} {day}에 {reason} 때문에 갈 수 없다고 한다.",
                ),
                "{day} {city} 여행, {friend2:과} 함께, 친구는 {reason} 때문에 못 감.",
                (
                    ("여행지", "어디로 여행을 가나요?", "{city}"),
                    ("날짜", "언제 떠나나요?", "{day}"),
                    ("동행", "누구와 함께 가나요?", "{friend2}"),
                    ("이유", "왜 같이 못 가나요?", "{reason}"),
                    ("못 가는 사람", "누가 못 가나요?", "{B}"),
                ),
            ),
        ),
    ),
    Scene(
        "이사",
        dict(friend=w.NAMES, friend2=w.NAMES, place=w.SPOTS, day=w.DAYS, price=w.HIGH_PRICES, reason=w.REASONS),
        (
            "?B: {friend:아}, 무슨 일 있어? 피곤해 보여. | {friend:아}, 요즘 바빠 보인다.",
            "A: 나 {day}에 {place} 근처로 이사해. | {day}에 {place} 옆에 있는 집으로 이사하게 됐어.",
            "B: 그래? 새집은 어때? | 축하해. 집은 마음에 들어?",
            "A: 아주 좋아. 그런데 짐이 많아서 걱정이야. 도와줄 수 있어? | 응, 좋아. 혹시 짐을 옮기는 걸 도와줄래?",
        ),
        (
            Outcome(
                (
                    "B: 그럼. {friend2}도 데리고 갈게. | 물론이지. {friend2:과} 같이 도와줄게.",
                    "?A: 고마워. 저녁은 내가 살게. | 정말 고마워.",
                ),
                (
                    "{A:은} {day}에 {place} 근처로 이사하고 {B:은} {friend2:과} 함께 돕기로 한다.",
                    "{B:은} {A:이} {day}에 {place} 근처로 이사한다는 말을 듣고 {friend2:과} 짐을 옮겨 주겠다고 한다.",
                    "{day}에 {place} 근처로 이사하는 {A:은} {B:과} {friend2}의 도움을 받기로 한다.",
                ),
                "{day} {place} 근처로 이사, {friend2:이} 도움.",
                (
                    ("장소", "어디 근처로 이사하나요?", "{place}"),
                    ("날짜", "언제 이사하나요?", "{day}"),
                    ("도울 사람", "누구를 데려가나요?", "{friend2}"),
                    ("이사하는 사람", "이사하는 사람은 누구인가요?", "{A}"),
                ),
            ),
            Outcome(
                (
                    "B: 미안해, 그날은 {reason} 때문에 못 가. 대신 {friend2:이} 쓴 이삿짐 회사를 알려 줄게. | {reason} 때문에 안 되겠어. {friend2}에게 이삿짐 회사를 물어볼게.",
                    "A: 고마워. 얼마나 들까? | 그래? 비용이 얼마야?",
                    "B: {price} 정도야. | {price:이라고} 들었어.",
                ),
                (
                    "{B:은} {reason} 때문에 {day}에 {place} 근처로 이사하는 {A:을} 돕지 못하고 {friend2:을} 통해 {price}짜리 이삿짐 회사를 소개한다.",
                    "{A:은} {day}에 {place} 근처로 이사하는데 {B:은} {reason} 때문에 갈 수 없어 {friend2:이} 아는 {price}짜리 회사를 알려 준다.",
                    "{A:이} {day} 이사를 도와 달라고 하자 {B:은} {reason} 때문에 못 간다며 {price} 정도인 이삿짐 회사를 추천한다.",
                ),
                "{day} {place} 근처로 이사, 이삿짐 회사 {price}.",
                (
                    ("장소", "어디 근처로 이사하나요?", "{place}"),
                    ("날짜", "언제 이사하나요?", "{day}"),
                    ("이유", "왜 도와주지 못하나요?", "{reason}"),
                    ("비용", "이삿짐 회사는 얼마인가요?", "{price}"),
                    ("못 가는 사람", "누가 도와주지 못하나요?", "{B}"),
                ),
            ),
        ),
    ),
    Scene(
        "생일 선물",
        dict(
            friend=w.NAMES, item=w.CLOTHES, item2=w.GADGETS, price=w.PRICES, day=w.DAYS, place=w.SPOTS, color=w.COLORS
        ),
        (
            "?B: 무슨 생각을 그렇게 해? | 고민이 있어 보이네.",
            "A: {day:이} {friend}의 생일인데 뭘 사야 할지 모르겠어. | {friend}의 생일이 {day:이라서} 선물을 고르고 있어.",
        ),
        (
            Outcome(
                (
                    "B: {color} {item:은} 어때? {friend:이} 그런 걸 좋아하잖아. | {color} {item:을} 사 주면 좋아할 거야.",
                    "A: 좋은 생각이야. 얼마쯤 할까? | 그거 좋겠다. 비쌀까?",
                    "B: {place}에서 {price}에 팔더라. | {place} 앞 가게에서 {price:이라고} 하더라.",
                ),
                (
                    "{A:이} {friend}의 생일 선물을 고민하자 {B:은} {place}에서 {price}에 파는 {color} {item:을} 권한다.",
                    "{B:은} {A}에게 {day} 생일인 {friend}의 선물로 {price}짜리 {color} {item:을} 추천한다.",
                    "{A:은} {B}의 말을 듣고 {place}에서 {friend}에게 줄 {color} {item:을} {price}에 사기로 한다.",
                ),
                "{friend} 생일 선물은 {color} {item}, {place}, {price}.",
                (
                    ("생일인 사람", "누구의 생일인가요?", "{friend}"),
                    ("선물", "무엇을 선물하나요?", "{color} {item}"),
                    ("가격", "선물은 얼마인가요?", "{price}"),
                    ("장소", "어디에서 파나요?", "{place}"),
                    ("추천한 사람", "누가 선물을 추천했나요?", "{B}"),
                ),
            ),
            Outcome(
                (
                    "B: 나는 {item2:을} 사려고 해. 같이 살까? | {item2:은} 비싸니까 돈을 모아서 같이 사자.",
                    "A: 좋아. 얼마씩 내면 돼? | 그러자. 내가 얼마를 내면 될까?",
                    "B: {price}씩 내자. | 한 사람이 {price}씩 내면 돼.",
                ),
                (
                    "{A:과} {B:은} {price}씩 내서 {day} 생일인 {friend}에게 {item2:을} 선물하기로 한다.",
                    "{B:은} {A}에게 {friend}의 생일 선물로 {price}씩 내고 {item2:을} 같이 사자고 한다.",
                    "{A:이} {friend}의 {day} 생일 선물을 고민하자 {B:은} {item2:을} {price}씩 내서 사자고 제안한다.",
                ),
                "{friend} 생일 선물은 {item2}, {price}씩 냄.",
                (
                    ("생일인 사람", "누구의 생일인가요?", "{friend}"),
                    ("선물", "무엇을 선물하나요?", "{item2}"),
                    ("돈", "한 사람이 얼마를 내나요?", "{price}"),
                    ("날짜", "생일은 언제인가요?", "{day}"),
                    ("고민한 사람", "누가 선물을 고민하나요?", "{A}"),
                ),
            ),
        ),
    ),
    Scene(
        "약속",
        dict(
            friend=w.NAMES,
            day=w.DAYS,
            day2=w.DAYS,
            time=w.TIMES,
            place=w.SPOTS,
            reason=w.REASONS,
            plan=("영화를 보자", "저녁을 먹자", "산책을 하자", "전시회를 보자", "쇼핑을 하자", "운동을 하자"),
        ),
        (
            "?B: 안녕, {friend:아}. 무슨 일이야? | {friend:아}, 전화했었어?",
            "A: {day}에 같이 {plan}. 시간 있어? | 우리 {day}에 {plan}. 어때?",
        ),
        (
            Outcome(
                (
                    "B: 좋아. 어디서 만날까? | 그래, 좋아. 몇 시에 어디로 갈까?",
                    "A: {time}에 {place}에서 만나자. | {place}에서 {time}에 보자.",
                    "?B: 알겠어. 그때 봐. | 응, 늦지 않을게.",
                ),
                (
                    "{A:이} {plan}고 하자 {B:은} {day} {time}에 {place}에서 만나기로 한다.",
                    "{A:과} {B:은} {day} {time}에 {place}에서 만나기로 한다. {A:이} 먼저 {plan}고 했다.",
                    "{B:은} {day}에 {plan}는 {A}의 말에 {time}에 {place:으로} 가겠다고 한다.",
                ),
                "{day} {time} {place}에서 만남.",
                (
                    ("날짜", "언제 만나나요?", "{day} {time}"),
                    ("장소", "어디에서 만나나요?", "{place}"),
                    ("할 일", "무엇을 하자고 했나요?", "{plan}"),
                    ("제안", "누가 먼저 제안했나요?", "{A}"),
                ),
            ),
            Outcome(
                (
                    "B: 그날은 {reason} 때문에 안 돼. {day2:은} 어때? | {reason:이} 있어서 힘들어. {day2}에 볼까?",
                    "A: 괜찮아. 그럼 {place}에서 만나. | 그래, 그날 {place} 앞에서 보자.",
                ),
                (
                    "{A:이} {day}에 {plan}고 하지만 {B:은} {reason} 때문에 {day2}에 {place}에서 만나자고 한다.",
                    "{B:은} {day}에 {reason:이} 있어서 {A:과} {day2}에 {place}에서 만나기로 한다.",
                    "{A:과} {B:은} {B}의 {reason} 때문에 {day} 대신 {day2}에 {place}에서 만나기로 한다.",
                ),
                "{day} 약속을 {day2:으로} 바꿈, {place}.",
                (
                    ("날짜", "언제 만나나요?", "{day2}"),
                    ("장소", "어디에서 만나나요?", "{place}"),
                    ("이유", "왜 날짜를 바꿨나요?", "{reason}"),
                    ("바쁜 사람", "누가 바쁜가요?", "{B}"),
                ),
            ),
        ),
    ),
)
