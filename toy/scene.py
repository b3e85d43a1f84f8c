"""A scene is a kind of conversation with open facts; `play` draws the facts and the wording of one dialogue."""

from dataclasses import dataclass
from random import Random

from toy.words import Word


@dataclass(frozen=True)
class Outcome:
    """How a scene ends.

    turns: lines such as `B: 네, {time}에 오세요. | {time}에 뵐게요.`; a leading `?` marks a turn that may be left out.
    summaries: three references of one meaning. memo: the same in note style, used in pretraining only.
    facts: (label, question, answer), used in pretraining only.
    """

    turns: tuple[str, ...]
    summaries: tuple[str, str, str]
    memo: str
    facts: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Scene:
    """A topic, the pools its facts are drawn from, the opening turns and the possible endings."""

    topic: str
    slots: dict[str, tuple[str, ...]]
    turns: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Play:
    """One dialogue: (speaker, text) turns, its references and facts; `key` names the facts it was drawn with."""

    topic: str
    turns: tuple[tuple[str, str], ...]
    summaries: tuple[str, ...]
    memo: str
    facts: tuple[tuple[str, str, str], ...]
    key: tuple[str, ...]

    @property
    def dialogue(self) -> str:
        return "\n".join(f"{speaker}: {text}" for speaker, text in self.turns)


def play(scene: Scene, rng: Random, words: dict[str, tuple[str, ...]] | None = None) -> Play:
    """Draw one dialogue of `scene`. Slots of one pool get different values; whoever speaks first is #Person1#.

    `words` replaces the pools of some slots (pretraining uses invented names and things there).
    """
    pools = scene.slots | {slot: pool for slot, pool in (words or {}).items() if slot in scene.slots}
    drawn: dict[str, Word] = {}
    for slot, pool in pools.items():
        drawn[slot] = Word(rng.choice([value for value in pool if value not in drawn.values()]))
    index = rng.randrange(len(scene.outcomes))
    outcome = scene.outcomes[index]

    lines: list[tuple[str, str]] = []
    for line in scene.turns + outcome.turns:
        if line.startswith("?") and rng.random() < 0.5:
            continue
        role, _, texts = line.removeprefix("?").partition(": ")
        text = rng.choice(texts.split(" | "))
        if lines and lines[-1][0] == role:
            lines[-1] = (role, f"{lines[-1][1]} {text}")
        else:
            lines.append((role, text))
    first = lines[0][0]
    second = "B" if first == "A" else "A"
    speakers = {first: Word("#Person1#"), second: Word("#Person2#")}
    values = drawn | speakers

    def fill(text: str) -> str:
        return text.format_map(values)

    return Play(
        topic=scene.topic,
        turns=tuple((str(speakers[role]), fill(text)) for role, text in lines),
        summaries=tuple(fill(text) for text in outcome.summaries),
        memo=fill(outcome.memo),
        facts=tuple((label, fill(question), fill(answer)) for label, question, answer in outcome.facts),
        key=(scene.topic, str(index), *drawn.values()),
    )
