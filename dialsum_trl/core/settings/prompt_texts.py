"""System texts and instructions by language, and the files that hold others."""

from pathlib import Path

from dialsum_trl.core.errors import InputError

SYSTEM = "당신은 대화를 요약하는 전문가입니다."
INSTRUCTIONS = (
    "다음 대화를 요약해주세요.",
    "아래 대화의 핵심 내용을 정리해주세요.",
    "주어진 대화를 간단히 요약하세요.",
    "다음 대화에서 중요한 정보를 추출해 요약하세요.",
    "대화 내용을 한 문단으로 요약해주세요.",
)
ENGLISH_SYSTEM = "You are an expert in summarizing dialogues."
ENGLISH_INSTRUCTIONS = (
    "Summarize the following dialogue.",
    "State the main points of the dialogue below.",
    "Write a short summary of the given dialogue.",
    "Extract the important information from the following dialogue and summarize it.",
    "Summarize the dialogue in one paragraph.",
)
RECORDED = ("system_prompt", "instruction", "speakers", "speech_rules")  # of a prompt, in `dialsum.json`
SPEECH_RULES = ("fillers", "repeats", "unheard")  # of `data.speech`
TEXTS = {"ko": (SYSTEM, INSTRUCTIONS), "en": (ENGLISH_SYSTEM, ENGLISH_INSTRUCTIONS)}  # by --prompt_language


def with_line_breaks(text: str) -> str:
    """A text of a flag or a file with line breaks for `\\n`."""
    return text.replace("\\n", "\n").strip()


def read_instructions(path: str, flag: str = "--instructions_file") -> list[str]:
    """The instructions in a text file, one a line; `\\n` in one is a line break."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"{flag} {path}: cannot be read ({why}); give a text file") from None
    if not (texts := [with_line_breaks(line) for line in lines if line.strip()]):
        raise InputError(f"{flag} {path}: holds no instruction; write one a line")
    return texts
