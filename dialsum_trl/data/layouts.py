"""Corpora and chat formats made flat: a row of a known layout has `id`, `dialogue`, `summary` and `topic` as texts."""

from collections.abc import Callable
from typing import Any

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.patterns import SPOKEN

_SPEAKER = ("speaker", "speaker_id", "participantID", "role", "from", "name", "user", "화자")
_SAID = ("utterance", "text", "content", "value", "form", "message", "발화")
_CHAT = ("messages", "conversations")
_ASSISTANT = ("assistant", "gpt", "model", "chatgpt", "bot")
_SUMMARIES = ("summary", "summary1", "요약")


def flat(values: dict) -> tuple[dict, str]:
    """The row with its dialogue and summary at the top, and what its layout is called ("" for rows of columns)."""
    for name, fits, change in LAYOUTS:
        if fits(values):
            return change(values), name
    return values, ""


def as_text(value: Any, role: str) -> Any:
    """Text of a value that is a list: turns of a dialogue one a line, keywords with commas; any other value as it is.

    Raises:
        InputError: an entry is neither text nor a turn with speaker and utterance.
    """
    if not isinstance(value, list) or role not in ("dialogue", "topic"):
        return value
    if role == "topic":
        return ", ".join(map(str, value))
    return "\n".join(map(_turn, value))


def _turn(entry: Any) -> str:
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry):
        entry = {"speaker": entry[0], "text": entry[1]}
    if isinstance(entry, str):
        return " ".join(entry.split())
    speaker, said = _first(entry, _SPEAKER), _first(entry, _SAID)
    if not isinstance(said, str):
        raise InputError("a turn is a text, or an object with 'speaker' and 'utterance'")
    said = " ".join(said.split())
    return said if speaker in (None, "") else f"{str(speaker).strip()}: {said}"


def _first(entry: Any, names: tuple[str, ...]) -> Any:
    """The value of the first of `names` that an object has."""
    return next((entry[name] for name in names if name in entry), None) if isinstance(entry, dict) else None


def messages(value: Any) -> bool:
    """Whether it is a list of chat messages with role and content."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
            for turn in value
        )
    )


def without_instruction(text: str) -> str:
    """A prompt's dialogue: from its first line of `speaker: text` to the last; the whole text where none is."""
    lines = text.split("\n")
    spoken = [index for index, line in enumerate(lines) if SPOKEN.match(line)]
    return "\n".join(lines[spoken[0] : spoken[-1] + 1]) if spoken else text


def _nikl(values: dict) -> dict:
    """국립국어원: `input.conversation`, `input.subject_keyword`, and `output`, which a test file has not."""
    given = values["input"]
    keywords = given.get("subject_keyword", given.get("topic", values.get("topic")))
    row = {"id": values["id"]} if "id" in values else {}
    row |= {"dialogue": as_text(given["conversation"], "dialogue"), "topic": as_text(keywords, "topic")}
    if "output" in values:
        output = values["output"]
        row["summary"] = output.get("summary") if isinstance(output, dict) else output
    return row


def _aihub(values: dict) -> dict:
    """AI Hub: `header.dialogueInfo` with id and topic, `body.dialogue` with one utterance an entry, `body.summary`."""
    about, body = values["header"].get("dialogueInfo", {}), values["body"]
    row = {"id": about["dialogueID"]} if "dialogueID" in about else {}
    row |= {"dialogue": as_text(body["dialogue"], "dialogue"), "topic": about.get("topic")}
    return row | ({"summary": body["summary"]} if "summary" in body else {})


def _spoken_document(values: dict) -> dict:
    """NIKL's corpora of dialogues: `utterance` is a list of `speaker_id` and `form`."""
    about = values.get("metadata") or {}
    rest = {name: value for name, value in values.items() if name not in ("utterance", "metadata")}
    return {"topic": about.get("topic"), **rest, "dialogue": as_text(values["utterance"], "dialogue")}


def _chat(values: dict) -> dict:
    """`messages` (OpenAI) and ShareGPT's `conversations`: the last answer is the summary of what was asked before it.

    Where the row has a summary of its own, the messages are the dialogue.
    """
    column = next(name for name in _CHAT if name in values)
    row = {name: value for name, value in values.items() if name != column}
    messages = values[column]
    if any(name in values for name in _SUMMARIES):
        return row | {"dialogue": as_text(messages, "dialogue")}
    said = [(str(_first(entry, _SPEAKER)).lower(), _first(entry, _SAID)) for entry in messages]
    if said and said[-1][0] in _ASSISTANT:
        row["summary"] = said.pop()[1]
    asked = [text for speaker, text in said if speaker != "system" and isinstance(text, str)]
    return row | {"dialogue": without_instruction("\n".join(asked))}


def _prompt_completion(values: dict) -> dict:
    """TRL's `prompt` and `completion`, as texts or as messages."""
    prompt, completion = values["prompt"], values["completion"]
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    rest = {name: value for name, value in values.items() if name not in ("prompt", "completion")}
    return _chat({**rest, "messages": [*prompt, *completion]})


def _instruction(values: dict) -> dict:
    """`instruction`, `input`, `output`: the input is the dialogue; an empty one stands below the instruction."""
    rest = {name: value for name, value in values.items() if name not in ("instruction", "input", "output")}
    dialogue = values.get("input") or values["instruction"]
    return rest | {"dialogue": without_instruction(dialogue), "summary": values["output"]}


def _has(values: dict, *path: str, kind: type = list) -> bool:
    value: Any = values
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return isinstance(value, kind)


_Layout = tuple[str, Callable[[dict], bool], Callable[[dict], dict]]
LAYOUTS: tuple[_Layout, ...] = (
    ("NIKL", lambda v: _has(v, "input", "conversation"), _nikl),
    ("AI Hub", lambda v: _has(v, "body", "dialogue") and _has(v, "header", kind=dict), _aihub),
    ("NIKL corpus", lambda v: _has(v, "utterance") and "dialogue" not in v, _spoken_document),
    ("chat messages", lambda v: any(_has(v, name) for name in _CHAT) and "dialogue" not in v, _chat),
    (
        "prompt and completion",
        lambda v: {"prompt", "completion"} <= v.keys() and "dialogue" not in v,
        _prompt_completion,
    ),
    (
        "instruction, input and output",
        lambda v: {"instruction", "output"} <= v.keys() and isinstance(v.get("input") or v["instruction"], str),
        _instruction,
    ),
)


def is_nikl(values: dict) -> bool:
    """Whether a row has the layout of NIKL's summaries, whose submission is the file with `output` filled in."""
    return LAYOUTS[0][1](values)
