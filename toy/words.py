"""Korean words for the synthetic dialogues: particles that fit, and the pools that facts are drawn from."""

PARTICLES = {
    "은": ("은", "는"),
    "이": ("이", "가"),
    "을": ("을", "를"),
    "과": ("과", "와"),
    "으로": ("으로", "로"),
    "이라고": ("이라고", "라고"),
    "이라서": ("이라서", "라서"),
    "이라는": ("이라는", "라는"),
    "이지만": ("이지만", "지만"),
    "이에요": ("이에요", "예요"),
    "이나": ("이나", "나"),
    "아": ("아", "야"),
    "이랑": ("이랑", "랑"),
}
DIGITS_WITH_FINAL = {"0": "ㅇ", "1": "ㄹ", "3": "ㅁ", "6": "ㄱ", "7": "ㄹ", "8": "ㄹ"}


def final_consonant(word: str) -> str:
    """Return "" when `word` ends in a vowel, "ㄹ" for a final ㄹ, and another letter for any other final.

    Masks are read aloud: `#Person1#` ends in 일 (ㄹ), `#PhoneNumber#` in a vowel.
    """
    last = word.rstrip("#")[-1]
    if last in DIGITS_WITH_FINAL:
        return DIGITS_WITH_FINAL[last]
    if not "가" <= last <= "힣":
        return ""
    final = (ord(last) - ord("가")) % 28
    return {0: "", 8: "ㄹ"}.get(final, "ㄱ")


class Word(str):
    """A string whose format spec is a particle: `f"{Word('가방'):을}"` is `가방을`, `f"{Word('모자'):을}"` `모자를`."""

    def __format__(self, particle: str) -> str:
        if particle not in PARTICLES:
            return str(self) + particle
        final = final_consonant(self)
        if particle == "으로" and final == "ㄹ":
            return self + "로"
        return self + PARTICLES[particle][0 if final else 1]


def pool(values: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in values.split(","))


NAMES = pool(
    "민수, 지영, 현우, 수진, 동현, 은지, 태호, 미경, 준서, 하나, 영철, 소연, 재민, 유리, 상우, 혜진, 도윤, "
    "나래, 승호, 가영, 성민, 다은, 진우, 예린, 경수, 보라, 우진, 선미, 기태, 주희"
)
SURNAMES = pool("김, 이, 박, 최, 정, 강, 조, 윤, 장, 임, 한, 오, 서, 신, 권, 황")
DATES = tuple(
    f"{m}월 {d}일" for m, d in ((1, 12), (3, 4), (4, 20), (5, 3), (6, 15), (7, 8), (9, 21), (10, 7), (11, 30))
)
WEEKDAYS = tuple(f"{d}요일" for d in "월화수목금토일")
DAYS = WEEKDAYS + tuple(f"{w} {d}" for w in ("이번 주", "다음 주") for d in WEEKDAYS) + DATES
PAST_DAYS = tuple(f"{w} {d}" for w in ("지난주", "지난달 첫째 주") for d in WEEKDAYS) + DATES
TIMES = tuple(
    [f"오전 {h}시{m}" for h in (8, 9, 10, 11) for m in ("", " 반")]
    + [f"오후 {h}시{m}" for h in (1, 2, 3, 4, 5) for m in ("", " 반")]
    + [f"저녁 {h}시{m}" for h in (6, 7, 8) for m in ("", " 반")]
)
SPOTS = pool(
    "강남역, 서울역, 시청, 도서관, 우체국, 박물관, 백화점, 시민공원, 중앙시장, 학생회관, 미술관, 체육관, "
    "홍대입구역, 버스터미널, 영화관, 대학교"
)
CITIES = pool("제주도, 부산, 경주, 강릉, 여수, 전주, 속초, 통영, 대구, 광주, 춘천, 안동, 인천, 대전, 목포, 울산")
FOODS = pool(
    "비빔밥, 불고기, 냉면, 김치찌개, 떡볶이, 삼계탕, 갈비탕, 짜장면, 돈가스, 피자, 치킨, 초밥, 쌀국수, "
    "칼국수, 만두, 샐러드"
)
CLOTHES = pool("코트, 셔츠, 원피스, 청바지, 운동화, 구두, 모자, 가방, 재킷, 스웨터, 치마, 장갑, 목도리, 지갑")
GADGETS = pool("노트북, 카메라, 휴대폰, 이어폰, 태블릿, 키보드, 시계, 스피커, 모니터, 프린터")
APPLIANCES = pool("냉장고, 세탁기, 에어컨, 보일러, 텔레비전, 전자레인지, 청소기, 정수기, 건조기, 가스레인지")
COLORS = pool("검은색, 하얀색, 빨간색, 파란색, 노란색, 초록색, 회색, 갈색, 분홍색, 보라색")
SYMPTOMS = pool("두통, 기침, 복통, 치통, 불면증, 허리 통증, 어깨 통증, 무릎 통증, 감기 증상, 알레르기, 소화 불량, 고열")
SUBJECTS = pool("수학, 영어, 역사, 물리학, 경제학, 심리학, 화학, 철학, 통계학, 생물학, 음악, 법학")
JOBS = pool("마케팅, 영업, 회계, 디자인, 개발, 인사, 홍보, 번역, 연구, 편집")
COMPANIES = pool(
    "한빛전자, 대성건설, 미래은행, 푸른식품, 동방여행사, 새한출판사, 우리통신, 서진물산, 가온소프트, 한길제약"
)
COURSES = pool("요가, 수영, 기타, 요리, 테니스, 중국어, 그림, 피아노, 필라테스, 사진, 탁구, 스페인어")
REASONS = pool(
    "회사 일, 시험공부, 가족 모임, 병원 검진, 출장, 친구 결혼식, 아르바이트, 이사 준비, 발표 준비, 치과 예약"
)
LOW_PRICES = pool(
    "1만 원, 1만 5천 원, 2만 원, 2만 5천 원, 3만 원, 3만 5천 원, 4만 원, 4만 5천 원, 5만 원, 5만 5천 원, 6만 원"
)
HIGH_PRICES = pool("7만 원, 8만 원, 8만 5천 원, 9만 원, 10만 원, 12만 원, 15만 원, 18만 원, 20만 원, 25만 원, 30만 원")
PRICES = LOW_PRICES + HIGH_PRICES
# Invented names and things are put together from these; pretraining learns to copy words it has never seen.
SYLLABLES = tuple(
    "가나다라마바사아자차카타파하고노도로모보소오조코호구누두루무부수우주초기니디리미비시이지치윤성현진민영경은정연원선"
)
# Every syllable of the scenes and the commonest others of Korean: each a token, and now and then in an invented word.
COMMON_SYLLABLES = tuple(
    "가각간갈감갑값갔강갖같개객갤갱거걱건걷걸검겁것게겐겠겨격겪견결겸겼경계고곡곤곧골곱곳공과관괄광괜괴굉교구국군굳굴"
    "궁권귀규균그극근글금급긍기긴길김깊까깎깐깔깝깨꺼께껴꼬꼭꼼꽃꽤꾸꾼꿀꿈꿔꿨뀌끄끊끌끔끗끝끼낄낌나낙난날낡남납낫났"
    "낭낮낳내낸낼냄냈냉냐냥너넌널넓넘넣네넷녀녁년념녕노녹논놀놈농높놓뇌누눈눌눔뉴느는늘능늦니닉닌닐님닙닝다닥단닫달담"
    "답닷당대댁댓더덕던덜덟덤덧덩데덴델도독돈돌돕동돼됐되된될됨됩두둔둘둥뒤뒷드득든듣들듬듭듯등디딜딩따딱딸땅때떠떡떤"
    "떨떻또똑뛰뜨뜻라락란랄람랍랐랑래랙랜램랫랬략량러럭런럴럼럽렀렇레렉렌렘려력련렬렴렵렸령례로록론롤롬롭롯롱뢰료루룩"
    "룬룰룸룻뤄류륙률륭르른를름릅릇릉릎리릭린릴림립릿링마막만많말맘맙맛망맞맡매맥맨맹맺머먹먼멀멈멋멍메멘며면멸명몇모"
    "목몬몰몸못몽묘무묵문묻물뭐뭔뭘뮤므미민믿밀밍및밑바박밖반받발밝밤밥방배백밴버번벌범법벗베벤벨벽변별병보복볶본볼봄"
    "봅봇봉봐봤뵐뵙부북분불붕붙뷰브블비빈빌빔빙빛빠빨빼뻐뽑뿌뿐쁘쁜쁨사삭산살삶삼삿샀상새색샐생샤샵서석선설섬섭섯섰성"
    "세섹센셀셈셉셋셔션셜셨소속손솔송쇄쇠쇼수숙순술숨숫숭숲쉬쉽슈스슨슬슴습슷승시식신실싫심십싱싶싸싼쌀쌍쌓써썼쓰쓴쓸"
    "씀씨씩아악안앉않알암압앗았앙앞애액앤앨앱야약얀양얘어억언얻얼엄업없엇었엉에엑엔엘여역연열염였영옆예옛오옥온올옮옳"
    "옵옷와완왔왕왜외왼요욕용우욱운울움웃웅워원월웠웨웹위윈윗유육윤율융으은을음읍응의이익인일읽잃임입잇있잉잊자작잔잖"
    "잘잠잡장재쟁저적전절젊점접정제젠져졌조족존졸좀종좋좌죄죠주죽준줄줍중줘줬즈즉즌즐즘증지직진질짐집짓징짜짝짧째쨌쩌"
    "쪽쭤쯤찌찍차착찬찮찰참찼창찾채책처척천철첨첫청체쳐쳤초촉촌총촬최추축춘출춤충춰취츠측층치칙친칠침칭카칸칼캐캠커컨"
    "컬컴케켓켜켰코콘콜콩쾌쿠큐크큰클큼키킨킬킷킹타탁탄탈탐탑탕태택터턴털테텍텐텔템토톡톤톨통퇴투튀튜트특튼틀티틱틴팀"
    "팅파판팔패팩팬퍼펀페펜펴편펼평폐포폭폰폴폼표푸풀품풍퓨프픈플픔피픽핀필핑하학한할함합항해핵핸했행향허헌험헤헬혀혁"
    "현혈혐협형혜호혹혼홀홈홍화확환활황회획효후훈훌훼휘휴흐흑흔흘흡흥희히힌힐힘"
)
