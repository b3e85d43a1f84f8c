"""What the toy models are pretrained on: anything about a dialogue except the summary that the recipes teach."""

from collections.abc import Iterator
from random import Random

from dialsum_trl.core.settings.prompt_texts import SYSTEM
from toy.scene import Play, play
from toy.words import COLORS, COMMON_SYLLABLES, NAMES, SYLLABLES, Word, pool

SYSTEMS = (
    "당신은 대화를 읽고 질문에 답하는 도우미입니다.",
    "당신은 친절한 도우미입니다.",
    "질문에 짧게 답하세요.",
    SYSTEM,
)
INVENTED_SLOTS = pool(
    "friend, friend2, name, item, item2, place, place2, city, food, food2, thing, company, course, subject, job, "
    "symptom, reason, doctor, professor"
)
ORDINALS = ("첫", "두", "세", "네", "다섯", "여섯", "일곱", "여덟")
COPY = "따라 쓰세요."
MEMO_SHARE = 0.12
LIST_SHARE = 0.15
INFILL_SHARE = 0.3
COMMON_SHARE = 0.2  # of the invented words
ANY_SHARE = 0.05  # of the invented words; most of their syllables are cut into bytes


def invented_word(rng: Random) -> str:
    kind = rng.random()
    length = rng.choice((1, 2, 2, 2, 3))
    if kind < ANY_SHARE:
        return "".join(chr(rng.randint(ord("가"), ord("힣"))) for _ in range(length))
    syllables = COMMON_SYLLABLES if kind < ANY_SHARE + COMMON_SHARE else SYLLABLES
    return "".join(rng.choice(syllables) for _ in range(length))


def invented_words(rng: Random) -> dict[str, tuple[str, ...]]:
    """Pools of new words for a random half of the noun slots."""
    return {slot: tuple(invented_word(rng) for _ in range(4)) for slot in INVENTED_SLOTS if rng.random() < 0.5}


def word_list(rng: Random, scenes) -> tuple[str, str]:
    """Copy a list of words: the plainest form of looking something up and writing it down.

    Some are single words of summaries. A token that pretraining never shows cannot be told from any other that it never
    shows: their embeddings are all pushed the same way, and SFT with frozen embeddings writes one for the other.
    """

    def word() -> str:
        summary_word = rng.choice(rng.choice(play(rng.choice(scenes), rng).summaries).split())
        return rng.choice((invented_word(rng), rng.choice(NAMES + COLORS), summary_word))

    line = ", ".join(word() for _ in range(rng.randint(3, 9)))
    return f"{COPY}\n\n{line}", line


def _question(rng: Random, drawn: Play) -> tuple[str, str]:
    _, question, answer = rng.choice(drawn.facts)
    return question, answer


def _labelled(rng: Random, drawn: Play) -> tuple[str, str]:
    label, _, answer = rng.choice(drawn.facts)
    return f"{label}만 쓰세요.", answer


def _record(rng: Random, drawn: Play) -> tuple[str, str]:
    facts = rng.sample(drawn.facts, rng.randint(2, len(drawn.facts)))
    return f"{', '.join(label for label, _, _ in facts)}: 표로 쓰세요.", "\n".join(f"{f[0]}: {f[2]}" for f in facts)


def _keywords(rng: Random, drawn: Play) -> tuple[str, str]:
    return "핵심어를 찾아 쓰세요.", ", ".join(answer for _, _, answer in drawn.facts)


def _turn(rng: Random, drawn: Play) -> tuple[str, str]:
    number = rng.randrange(len(drawn.turns))
    speaker, text = drawn.turns[number]
    ordinal = ORDINALS[number] if number < len(ORDINALS) else "마지막"
    if number >= len(ORDINALS):
        speaker, text = drawn.turns[-1]
    return f"{ordinal} 번째 말을 옮기세요." if ordinal != "마지막" else "마지막 말을 옮기세요.", f"{speaker}: {text}"


def _report(rng: Random, drawn: Play) -> tuple[str, str]:
    speaker, text = rng.choice(drawn.turns)
    listener = next(Word(s) for s, _ in drawn.turns if s != speaker)
    return f"{Word(speaker):이} 한 말을 하나 전하세요.", f"{Word(speaker):은} {listener}에게 “{text}”라고 말한다."


def _who(rng: Random, drawn: Play) -> tuple[str, str]:
    speaker, text = rng.choice(drawn.turns)
    return f"누가 한 말인가요? “{text}”", speaker


def _next(rng: Random, drawn: Play) -> tuple[str, str]:
    number = rng.randrange(len(drawn.turns) - 1)
    speaker, text = drawn.turns[number + 1]
    return f"“{drawn.turns[number][1]}” 다음 말은 무엇인가요?", f"{speaker}: {text}"


def _topic(rng: Random, drawn: Play) -> tuple[str, str]:
    return "대화의 주제는 무엇인가요?", drawn.topic


def _memo(rng: Random, drawn: Play) -> tuple[str, str]:
    return "메모를 남기세요.", drawn.memo


TASKS = (_question, _question, _question, _labelled, _record, _keywords, _turn, _report, _report, _who, _next, _topic)


def tasks_for(rng: Random, drawn: Play, count: int = 7) -> Iterator[tuple[str, str]]:
    """`count` pairs (what is asked, the answer) about one dialogue."""
    for task in rng.sample(TASKS, count):
        yield _memo(rng, drawn) if rng.random() < MEMO_SHARE else task(rng, drawn)


def _unseen(rng: Random, scenes, forbidden: set[tuple[str, ...]]) -> Play:
    while True:
        drawn = play(rng.choice(scenes), rng, invented_words(rng))
        if drawn.key not in forbidden:
            return drawn


def conversation(rng: Random, scenes, forbidden: set[tuple[str, ...]]) -> list[dict]:
    """Messages of one pretraining chat: a dialogue, then questions and answers about it, or a list to copy.

    Dialogues whose facts are in `forbidden` (the dev and test splits) are never drawn.
    """
    if rng.random() < LIST_SHARE:
        turns = [word_list(rng, scenes) for _ in range(3)]
    else:
        drawn = _unseen(rng, scenes, forbidden)
        turns = list(tasks_for(rng, drawn))
        turns[0] = (f"{turns[0][0]}\n\n{drawn.dialogue}", turns[0][1])
    messages = [{"role": "system", "content": rng.choice(SYSTEMS)}]
    for ask, answer in turns:
        messages += [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return messages


def _infill(rng: Random, text: str, mask_token: str) -> str:
    """Replace runs of one to four words, about a third of all, by one mask each (BART's text infilling)."""
    lines = []
    for line in text.split("\n"):
        words, kept = line.split(" "), []
        while words:
            if rng.random() < 0.15:
                kept.append(mask_token)
                words = words[rng.randint(1, 4) :]
            else:
                kept.append(words.pop(0))
        lines.append(" ".join(kept))
    return "\n".join(lines)


def source_and_target(rng: Random, scenes, forbidden: set[tuple[str, ...]], mask_token: str) -> tuple[str, str]:
    """A text pair for an encoder-decoder model: questions and dialogue to answers, or infilling."""
    if rng.random() < LIST_SHARE:
        return word_list(rng, scenes)
    drawn = _unseen(rng, scenes, forbidden)
    if rng.random() < INFILL_SHARE:
        return _infill(rng, drawn.dialogue, mask_token), drawn.dialogue
    asks, answers = zip(*tasks_for(rng, drawn, 4), strict=True)
    return "\n".join((*asks, "", drawn.dialogue)), "\n".join(answers)
