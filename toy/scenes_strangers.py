# ruff: noqa: E501 (a Korean letter counts as two columns)
"""With people one hardly knows: an interview, the way, a professor, a second-hand sale."""

from toy import words as w
from toy.scene import Outcome, Scene

STRANGER_SCENES = (
    Scene(
        "면접",
        dict(
            company=w.COMPANIES,
            job=w.JOBS,
            years=("1년", "2년", "3년", "4년", "5년", "7년", "10년"),
            day=w.DAYS,
            time=w.TIMES,
            major=w.SUBJECTS,
        ),
        (
            "A: 안녕하세요. 자기소개를 해 주시겠어요? | 반갑습니다. 어떤 일을 하셨는지 말씀해 주세요.",
            "B: 저는 {company}에서 {years} 동안 {job} 일을 했습니다. | 대학에서 {major:을} 전공하고 {company}에서 {years} 동안 {job} 업무를 맡았습니다.",
            "A: 왜 우리 회사에 지원하셨나요? | 회사를 옮기려는 이유가 무엇인가요?",
            "B: 새로운 일을 배우고 싶습니다. | 더 큰 회사에서 일하고 싶습니다.",
        ),
        (
            Outcome(
                (
                    "A: 좋습니다. {day}부터 출근할 수 있나요? | 마음에 드네요. {day}에 일을 시작할 수 있습니까?",
                    "B: 네, 물론입니다. 감사합니다. | 네, 그때 출근하겠습니다.",
                ),
                (
                    "{A:은} {company}에서 {years} 동안 {job} 일을 한 {B:을} 면접하고 {day}부터 출근하게 한다.",
                    "{B:은} {A}에게 {company}에서 {years} 동안 {job} 일을 했다고 말하고 {day}부터 일하기로 한다.",
                    "{company}에서 {job} 일을 {years} 동안 한 {B:은} {A:과} 면접을 보고 {day}에 출근하기로 한다.",
                ),
                "{company} {job} 경력 {years}, {day} 출근.",
                (
                    ("회사", "전에 어느 회사에서 일했나요?", "{company}"),
                    ("업무", "무슨 일을 했나요?", "{job}"),
                    ("경력", "몇 년 일했나요?", "{years}"),
                    ("출근", "언제부터 출근하나요?", "{day}"),
                    ("지원자", "지원자는 누구인가요?", "{B}"),
                ),
            ),
            Outcome(
                (
                    "A: 잘 들었습니다. {day} {time}에 두 번째 면접이 있습니다. | 그럼 {day} {time}에 두 번째 면접을 보러 오세요.",
                    "B: 네, 준비해서 오겠습니다. | 알겠습니다. 그때 뵙겠습니다.",
                ),
                (
                    "{B:은} {company}에서 {years} 동안 {job} 일을 했고 {A:은} {day} {time}에 두 번째 면접을 보자고 한다.",
                    "{A:은} {company}에서 {job} 일을 한 {B}에게 {day} {time}에 두 번째 면접에 오라고 말한다.",
                    "{A:은} {B}의 {years} {job} 경력을 듣고 {day} {time}에 두 번째 면접을 하기로 한다.",
                ),
                "{company} {job} 경력 {years}, 두 번째 면접 {day} {time}.",
                (
                    ("회사", "전에 어느 회사에서 일했나요?", "{company}"),
                    ("업무", "무슨 일을 했나요?", "{job}"),
                    ("경력", "몇 년 일했나요?", "{years}"),
                    ("면접", "두 번째 면접은 언제인가요?", "{day} {time}"),
                    ("면접관", "면접관은 누구인가요?", "{A}"),
                ),
            ),
        ),
    ),
    Scene(
        "길 묻기",
        dict(
            place=w.SPOTS,
            place2=w.SPOTS,
            minutes=("5분", "10분", "15분", "20분", "30분"),
            bus=("7번", "15번", "23번", "38번", "46번", "52번", "101번", "160번", "273번"),
        ),
        (
            "A: 실례합니다. {place:으로} 가려면 어떻게 해야 하나요? | 저기요, {place:이} 어디에 있나요?",
            "?B: 여기서 조금 멀어요. | 아, 거기는 찾기 쉬워요.",
        ),
        (
            Outcome(
                (
                    "B: {place2} 앞에서 {bus} 버스를 타세요. | {place2:으로} 가서 {bus} 버스를 타면 됩니다.",
                    "A: 얼마나 걸려요? | 시간이 오래 걸리나요?",
                    "B: {minutes} 정도 걸려요. | {minutes}이면 도착합니다.",
                ),
                (
                    "{A:이} {place}에 가는 길을 묻자 {B:은} {place2} 앞에서 {bus} 버스를 타고 {minutes} 정도 가라고 알려 준다.",
                    "{B:은} {A}에게 {place2}에서 {bus} 버스를 타면 {place}까지 {minutes} 걸린다고 말한다.",
                    "{A:은} {B}에게 길을 물어 {place2} 앞에서 {bus} 버스로 {minutes} 거리인 {place}에 가기로 한다.",
                ),
                "{place}까지 {place2}에서 {bus} 버스로 {minutes}.",
                (
                    ("목적지", "어디에 가려고 하나요?", "{place}"),
                    ("정류장", "어디에서 버스를 타나요?", "{place2}"),
                    ("버스", "몇 번 버스를 타나요?", "{bus}"),
                    ("시간", "얼마나 걸리나요?", "{minutes}"),
                    ("길을 묻는 사람", "누가 길을 묻나요?", "{A}"),
                ),
            ),
            Outcome(
                (
                    "B: {place2:을} 지나서 오른쪽으로 걸어가세요. | {place2}까지 걸어가서 오른쪽으로 도세요.",
                    "A: 걸어서 갈 수 있나요? | 많이 걸어야 하나요?",
                    "B: 네, {minutes}이면 돼요. | {minutes}만 걸으면 됩니다.",
                ),
                (
                    "{B:은} {A}에게 {place2:을} 지나 오른쪽으로 {minutes} 걸어가면 {place:이} 나온다고 말한다.",
                    "{A:이} {place}에 가는 길을 묻자 {B:은} {place2}에서 오른쪽으로 {minutes} 걸으라고 알려 준다.",
                    "{A:은} {B}에게서 {place:이} {place2} 오른쪽에 있고 걸어서 {minutes} 걸린다는 말을 듣는다.",
                ),
                "{place}까지 {place2} 지나 걸어서 {minutes}.",
                (
                    ("목적지", "어디에 가려고 하나요?", "{place}"),
                    ("지나는 곳", "어디를 지나가나요?", "{place2}"),
                    ("시간", "얼마나 걸리나요?", "{minutes}"),
                    ("알려 준 사람", "누가 길을 알려 주었나요?", "{B}"),
                ),
            ),
        ),
    ),
    Scene(
        "과제 기한",
        dict(subject=w.SUBJECTS, day=w.DAYS, day2=w.DAYS, reason=w.REASONS, professor=w.SURNAMES),
        (
            "A: {professor} 교수님, 드릴 말씀이 있습니다. | {professor} 교수님, 잠깐 시간 있으세요?",
            "B: 네, 들어오세요. 무슨 일인가요? | 그래요. 무슨 일이죠?",
            "A: {reason} 때문에 {subject} 과제를 {day}까지 못 낼 것 같아요. | {subject} 과제를 {day}까지 내야 하는데 {reason} 때문에 다 못 했어요.",
        ),
        (
            Outcome(
                (
                    "B: 사정을 알겠어요. {day2}까지 내도록 하세요. | 그럼 {day2}까지 시간을 줄게요.",
                    "A: 정말 감사합니다. | 감사합니다. 꼭 그때까지 내겠습니다.",
                ),
                (
                    "{A:이} {reason} 때문에 {subject} 과제를 {day}까지 못 낸다고 하자 {professor} 교수는 {day2}까지 내라고 한다.",
                    "{professor} 교수는 {A}의 {subject} 과제 기한을 {reason} 때문에 {day}에서 {day2:으로} 미뤄 준다.",
                    "{A:은} {reason} 때문에 {subject} 과제를 {day} 대신 {day2}까지 {professor} 교수에게 내기로 한다.",
                ),
                "{subject} 과제 기한을 {day}에서 {day2:으로} 연장.",
                (
                    ("과목", "어느 과목의 과제인가요?", "{subject}"),
                    ("새 기한", "언제까지 내면 되나요?", "{day2}"),
                    ("이유", "왜 과제를 못 냈나요?", "{reason}"),
                    ("교수", "교수님의 성은 무엇인가요?", "{professor}"),
                    ("학생", "학생은 누구인가요?", "{A}"),
                ),
            ),
            Outcome(
                (
                    "B: 미안하지만 기한을 바꿀 수는 없어요. {day}까지 꼭 내세요. | 다른 학생도 있으니 안 돼요. {day:을} 지켜 주세요.",
                    "A: 알겠습니다. 밤을 새워서라도 내겠습니다. | 네, 최선을 다하겠습니다.",
                ),
                (
                    "{A:이} {reason} 때문에 {subject} 과제를 늦게 내려고 하지만 {professor} 교수는 {day}까지 내라고 한다.",
                    "{professor} 교수는 {A}에게 {reason:이} 있어도 {subject} 과제의 기한 {day:을} 지키라고 말한다.",
                    "{A:은} {reason} 때문에 {professor} 교수에게 {subject} 과제의 연장을 부탁하지만 거절당하고 {day}까지 내기로 한다.",
                ),
                "{subject} 과제 연장 안 됨, {day} 기한.",
                (
                    ("과목", "어느 과목의 과제인가요?", "{subject}"),
                    ("기한", "언제까지 내야 하나요?", "{day}"),
                    ("이유", "왜 과제가 늦었나요?", "{reason}"),
                    ("교수", "교수님의 성은 무엇인가요?", "{professor}"),
                    ("거절한 사람", "누가 거절했나요?", "{B}"),
                ),
            ),
        ),
    ),
    Scene(
        "중고 거래",
        dict(
            item=w.GADGETS,
            price=w.HIGH_PRICES,
            price2=w.LOW_PRICES,
            day=w.DAYS,
            time=w.TIMES,
            place=w.SPOTS,
            years=("한 달", "반년", "1년", "2년", "3년"),
        ),
        (
            "A: 안녕하세요. {item:을} 파신다고 해서 연락드렸어요. | {item} 아직 파시나요?",
            "B: 네, {years} 동안 썼고 {price}에 팔고 있어요. | 네, {price}입니다. {years} 정도 썼어요.",
            "A: {price2}에 주실 수 있나요? | 조금 비싸네요. {price2:은} 어떠세요?",
        ),
        (
            Outcome(
                (
                    "B: 좋아요. 그 가격에 드릴게요. 어디서 볼까요? | 그렇게 하죠. 언제 만날까요?",
                    "A: {day} {time}에 {place}에서 만나요. | {place}에서 {day} {time}에 뵐게요.",
                ),
                (
                    "{A:은} {B}의 {item:을} {price} 대신 {price2}에 사기로 하고 {day} {time}에 {place}에서 만나기로 한다.",
                    "{B:은} {A}에게 {years} 쓴 {item:을} {price2}에 팔기로 하고 둘은 {day} {time}에 {place}에서 만난다.",
                    "{A:이} {item} 가격을 깎아 달라고 하자 {B:은} {price2}에 주기로 하고 {place}에서 {day} {time}에 보기로 한다.",
                ),
                "{item:을} {price2}에 거래, {day} {time} {place}.",
                (
                    ("물건", "무엇을 사나요?", "{item}"),
                    ("가격", "결국 얼마에 사나요?", "{price2}"),
                    ("장소", "어디에서 만나나요?", "{place}"),
                    ("시간", "언제 만나나요?", "{day} {time}"),
                    ("사는 사람", "누가 물건을 사나요?", "{A}"),
                ),
            ),
            Outcome(
                (
                    "B: 죄송하지만 깎아 드릴 수 없어요. | 그 가격에는 안 팔아요.",
                    "A: 그럼 다른 물건을 찾아볼게요. | 알겠습니다. 조금 더 생각해 볼게요.",
                ),
                (
                    "{A:은} {B}의 {item:을} {price2}에 사려고 하지만 {B:은} {price:을} 깎아 주지 않는다.",
                    "{B:은} {years} 쓴 {item:을} {price}에 팔려고 해서 {price2:을} 원한 {A:은} 사지 않는다.",
                    "{A:이} {item} 가격을 {price}에서 {price2:으로} 깎아 달라고 하지만 {B:은} 거절한다.",
                ),
                "{item} 거래 안 됨, {price:을} 깎아 주지 않음.",
                (
                    ("물건", "무엇을 사려고 했나요?", "{item}"),
                    ("원래 가격", "원래 가격은 얼마인가요?", "{price}"),
                    ("원한 가격", "얼마에 사고 싶어 했나요?", "{price2}"),
                    ("파는 사람", "누가 물건을 파나요?", "{B}"),
                ),
            ),
        ),
    ),
)
