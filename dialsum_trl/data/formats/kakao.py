"""Text exports of KakaoTalk: one dialogue."""

import re

_MESSAGE = (
    re.compile(r"\[(?P<who>[^\]\n]+)\] \[(?:오전|오후|AM|PM)? ?\d{1,2}:\d{2}(?: ?[AP]M)?\] (?P<said>.*)"),  # Windows
    re.compile(r"\d{4}년 \d{1,2}월 \d{1,2}일 (?:오전|오후) \d{1,2}:\d{2}, (?P<who>[^:\n]+?) : (?P<said>.*)"),  # Android
    re.compile(r"\d{4}\. ?\d{1,2}\. ?\d{1,2}\.? (?:오전|오후) ?\d{1,2}:\d{2}, (?P<who>[^:\n]+?) : (?P<said>.*)"),  # iOS
)
_NO_TURN = re.compile(
    r"-{5,}.*|저장한 날짜 ?:.*|.*카카오톡 대화.*|\d{4}년 \d{1,2}월 \d{1,2}일( .요일| (오전|오후) \d{1,2}:\d{2})?"
    r"|\d{4}[.년].{3,20}(오전|오후) ?\d{1,2}:\d{2}, .*(들어왔|나갔|초대했|내보냈)습니다\.?"
)


def kakao_dialogue(text: str) -> str | None:
    """`name: text` per message of a KakaoTalk export (Windows, Mac, Android, iOS); None for any other text.

    Lines that continue a message are joined to it; dates, headers and who came or left are left out.
    """
    turns: list[str] = []
    for line in (line.strip() for line in text.splitlines()):
        if found := next(filter(None, (pattern.fullmatch(line) for pattern in _MESSAGE)), None):
            turns.append(f"{found['who'].strip()}: {found['said']}")
        elif turns and line and not _NO_TURN.fullmatch(line):
            turns[-1] += f" {line}"
    return "\n".join(turns) or None
