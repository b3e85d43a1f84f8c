"""Text exports of KakaoTalk, in Korean and in English: one dialogue."""

import re

_TIME = r"(?:(?:오전|오후|AM|PM) ?)?\d{1,2}:\d{2}(?::\d{2})?(?: ?[AP]M)?"
_DATE = (
    r"(?:\d{4}년 \d{1,2}월 \d{1,2}일|\d{4}\. ?\d{1,2}\. ?\d{1,2}\.?|\d{4}-\d{1,2}-\d{1,2}|[A-Z][a-z]+ \d{1,2}, \d{4})"
)
_MOMENT = rf"{_DATE},?(?: at)? ?{_TIME}"

_MESSAGE = (
    re.compile(rf"\[(?P<who>[^\]\n]+)\] \[{_TIME}\] (?P<said>.*)"),  # Windows
    re.compile(rf"{_MOMENT}, (?P<who>[^:\n]+?) : (?P<said>.*)"),  # Android, iOS
)
_NO_TURN = re.compile(
    rf"-{{5,}}.*|{_MOMENT}(?:, .*)?|{_DATE}(?: .요일)?|[A-Z][a-z]+day, [A-Z][a-z]+ \d{{1,2}}, \d{{4}}"
    r"|.+님이 (?:.+님을 )?(?:들어왔|나갔|초대했|내보냈)습니다\.?|.+ (?:joined|left|invited .+ to) this chatroom\.?"
)


def kakao_dialogue(text: str) -> str | None:
    """`name: text` per message of a KakaoTalk export (Windows, Android, iOS); None for any other text.

    Lines that continue a message are joined to it; dates, headers and who came or left are left out.
    """
    turns: list[str] = []
    for line in (line.strip() for line in text.splitlines()):
        if found := next(filter(None, (pattern.fullmatch(line) for pattern in _MESSAGE)), None):
            turns.append(f"{found['who'].strip()}: {found['said']}")
        elif turns and line and not _NO_TURN.fullmatch(line):
            turns[-1] += f" {line}"
    return "\n".join(turns) or None
