"""The one place where a prompt is built: training, inference, reward and PPO all come through here.

A row becomes `{"prompt": [system, user], "completion": [assistant]}`, the tokenizer's own chat template renders it, and
the completion is cut right after the end-of-turn token (Qwen's templates would also supervise a newline after it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.defaults import MAX_LENGTH
from dialsum_trl.core.settings.flags import PromptArguments
from dialsum_trl.core.settings.prompt_texts import INSTRUCTIONS, SYSTEM
from dialsum_trl.data.speech import clean_speech
from dialsum_trl.prompts.control_tokens import neutralize
from dialsum_trl.prompts.shortening import Fitted, shorten
from dialsum_trl.prompts.templates import FAILURES, reason, template_kwargs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPEAKER_ID = re.compile(r"[A-Za-z]{1,4}\d+")  # of transcribed corpora: NIKL's SD2000001, AI Hub's P01
SPEAKER = re.compile(r"([^\s:：][^\n:：]{0,39}?)\s*[:：]")  # at the start of a turn


@dataclass(frozen=True)
class PromptTexts:
    """What is asked around a dialogue; the first instruction is the one of prediction.

    `{speakers}` and `{topic}` in a text are filled from the row. The dialogue comes after the instruction and an empty
    line, or where the instruction has `{dialogue}`.
    """

    system: str = SYSTEM
    instructions: tuple[str, ...] = INSTRUCTIONS
    speakers: str = "keep"  # what becomes of ids such as SD2000001: numbered, prefixed
    speech_rules: tuple[str, ...] = ()  # of `data.speech`

    def asked(self, dialogue: str) -> str:
        """The dialogue as it is asked about: cleaned by `speech_rules`, its speakers' ids as `speakers` says."""
        ids, dialogue = _speaker_ids(dialogue), clean_speech(dialogue, self.speech_rules)
        if self.speakers == "prefixed":
            return "\n".join(f"화자{turn}" if _speaker(turn) in ids else turn for turn in dialogue.split("\n"))
        return self.target(dialogue, dialogue)

    def target(self, dialogue: str, summary: str) -> str:
        """A summary of `dialogue` as the model is to write it."""
        return _replaced(summary, _speaker_ids(dialogue)) if self.speakers == "numbered" else summary

    def with_ids(self, dialogue: str, summary: str) -> str:
        """What the model wrote about `dialogue`, with the ids of its speakers again."""
        if self.speakers != "numbered":
            return summary
        return _replaced(summary, {name: speaker for speaker, name in _speaker_ids(dialogue).items()})

    def messages(self, dialogue: str, instruction: str | None = None, topic: str | None = None) -> list[dict]:
        """The system and the user turn for one dialogue.

        Args:
            instruction: default: the first.
            topic: of the row.
        """
        instruction = instruction or self.instructions[0]
        if "{topic}" in self.system + instruction and not topic:
            raise InputError(
                "the prompt has {topic}, and the row has none: name its column with --topic_column, or give another "
                "--instruction (pairs and single dialogues have no topics)"
            )
        speakers = dict.fromkeys(filter(None, map(_speaker, dialogue.split("\n"))))
        if dialogue and not speakers and "{speakers}" in self.system + instruction:
            raise InputError(
                "the prompt has {speakers}, and no line of the dialogue begins with a name and a colon; give another "
                "--instruction"
            )
        values = {"topic": topic or "", "speakers": ", ".join(speakers)}

        def filled(text: str, **more: str) -> str:
            values_now = {**values, **more}
            names = "|".join(values_now)
            return re.sub(rf"\{{({names})\}}", lambda name: values_now[name[1]], text)

        user = instruction if "{dialogue}" in instruction else f"{instruction}\n\n{{dialogue}}"
        return [
            {"role": "system", "content": filled(self.system)},
            {"role": "user", "content": filled(user, dialogue=dialogue)},
        ]


def _speaker(turn: str) -> str:
    head = SPEAKER.match(turn)
    return head[1] if head else ""


def _speaker_ids(dialogue: str) -> dict[str, str]:
    """Each speaker that is an id -> 화자1, 화자2, ... in the order in which they speak."""
    ids = dict.fromkeys(name for name in map(_speaker, dialogue.split("\n")) if SPEAKER_ID.fullmatch(name))
    return {name: f"화자{number}" for number, name in enumerate(ids, start=1)}


def _replaced(text: str, names: dict[str, str]) -> str:
    if not names:
        return text
    any_name = "|".join(map(re.escape, names))
    return re.sub(rf"(?<![A-Za-z0-9])(?:{any_name})(?!\d)", lambda found: names[found[0]], text)


def set_prompt_texts(
    tokenizer: PreTrainedTokenizerBase,
    system: str | None,
    instructions: Sequence[str] | None,
    speakers: str | None = None,
    speech_rules: Sequence[str] | None = None,
) -> None:
    """Has the tokenizer's prompts use other texts than the Korean ones; None leaves these."""
    asked = system or SYSTEM, tuple(instructions or INSTRUCTIONS)
    tokenizer.prompt_texts = PromptTexts(*asked, speakers or "keep", tuple(speech_rules or ()))


def set_prompt(tokenizer: PreTrainedTokenizerBase, prompt: PromptArguments) -> None:
    """Has the tokenizer's prompts use the texts of the flags."""
    set_prompt_texts(tokenizer, prompt.system_prompt, prompt.instruction, prompt.speakers, prompt.speech_rules)


def check_fields(prompt: PromptArguments, rows: Iterable[dict], source: str | None) -> None:
    """Raises InputError for the first row of `source` that has nothing for a field of the prompt."""
    texts = PromptTexts(prompt.system_prompt, tuple(prompt.instruction))
    for row in rows if "{" in prompt.system_prompt + "".join(prompt.instruction) else ():
        for instruction in texts.instructions:
            try:
                texts.messages(row["dialogue"], instruction, row["topic"])
            except InputError as error:
                raise InputError(f"{source}: row {row['fname']}: {error}") from None


def prompt_texts(tokenizer: PreTrainedTokenizerBase) -> PromptTexts:
    """The texts of its prompts (`set_prompt_texts`), the Korean ones where none were set."""
    return getattr(tokenizer, "prompt_texts", None) or PromptTexts()


def prompt_messages(dialogue: str, instruction: str = INSTRUCTIONS[0], system: str = SYSTEM) -> list[dict]:
    """The system and the user turn for one dialogue."""
    return PromptTexts(system).messages(dialogue, instruction)


def model_messages(
    tokenizer: PreTrainedTokenizerBase, dialogue: str, instruction: str | None = None, topic: str | None = None
) -> list[dict]:
    """The system and the user turn as this tokenizer's model is asked."""
    return prompt_texts(tokenizer).messages(dialogue, instruction, topic and neutralize(tokenizer, topic))


def apply_template(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict], *, generation: bool
) -> tuple[list[dict], str]:
    """`messages` as the tokenizer's chat template takes them, and the text that it writes.

    Where it has no system role (it raises, or leaves the system text out), the system text opens the first user turn.

    Args:
        generation: adds the assistant header.
    """
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    opened = (
        [{**messages[1], "content": f"{system}\n\n{messages[1]['content']}"}, *messages[2:]] if system else messages
    )
    failures = []
    for turns in (messages, opened):
        try:
            text = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=generation, **template_kwargs(tokenizer)
            )
        except FAILURES as error:
            failures.append(error)
            continue
        if turns is opened or system.strip() in text:
            return turns, text
    raise InputError(
        f"{tokenizer.name_or_path}: its chat template fails on user and assistant turns ({reason(failures[0])}); use "
        f"--prompt_style instruction"
    ) from failures[0]


def render(tokenizer: PreTrainedTokenizerBase, messages: list[dict], *, generation: bool) -> list[int]:
    """Token ids of `apply_template`."""
    return _ids(tokenizer, apply_template(tokenizer, messages, generation=generation)[1])


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False).input_ids


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, dialogue: str, instruction: str | None = None, topic: str | None = None
) -> list[int]:
    """Token ids of the prompt up to and including the assistant header: what generation starts from."""
    text = neutralize(tokenizer, prompt_texts(tokenizer).asked(dialogue))
    return render(tokenizer, model_messages(tokenizer, text, instruction, topic), generation=True)


def encode_completion(
    tokenizer: PreTrainedTokenizerBase, prompt_ids: list[int], messages: list[dict], stop_ids: list[int]
) -> list[int]:
    """Token ids that the assistant turn adds to `prompt_ids`, ending with the end-of-turn token.

    A template that writes none gets the tokenizer's eos right after the summary, to be learned.

    Args:
        messages: system, user and assistant turns whose first two rendered to `prompt_ids`.
        stop_ids: ids that end a turn (`chat_tokens.stop_token_ids`), the template's own end of turn first.

    Raises:
        InputError: the template does not render the prompt as a prefix, writes something before the summary, or ends
            the turn with none of `stop_ids` where there is no eos.
    """
    text = apply_template(tokenizer, messages, generation=False)[1]
    full = _ids(tokenizer, text)
    if full[: len(prompt_ids)] != prompt_ids:
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template renders prompt + completion so that the prompt is no prefix "
            f"of it; the model would train on another context than it is asked with. Use --prompt_style instruction"
        )
    completion = full[len(prompt_ids) :]
    ends = [i for i, token in enumerate(completion) if token in stop_ids]
    if not ends:
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"{tokenizer.name_or_path}: its chat template ends the assistant turn with no stop token and its "
                f"tokenizer has no eos token, so the model would never learn to stop; give another model"
            )
        bare = _ids(tokenizer, text.rstrip())  # such templates write line breaks between turns
        completion = bare[len(prompt_ids) :] if bare[: len(prompt_ids)] == prompt_ids else completion
        completion, ends = [*completion, tokenizer.eos_token_id], [len(completion)]
    # a template may write an end of text after the end of turn (Phi 3), at which generation has stopped already
    turn = [i for i in ends if completion[i] == stop_ids[0]] or ends
    completion = completion[: turn[-1] + 1]
    _check_beginning(tokenizer, completion, messages[-1]["content"])
    return completion


def _check_beginning(tokenizer: PreTrainedTokenizerBase, completion: list[int], summary: str) -> None:
    """Raises InputError where `completion` reads as something else before `summary`."""
    again = tokenizer(summary, add_special_tokens=False, verbose=False).input_ids  # as its normalizer leaves it
    found, expected = (tokenizer.decode(ids, skip_special_tokens=True).split() for ids in (completion, again))
    if not "".join(found).startswith("".join(expected)):
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template writes {' '.join(found)[:40]!r} where the summary "
            f"{' '.join(expected)[:40]!r} begins, and every summary would hold it. Use --prompt_style instruction"
        )


def fit(
    tokenizer: PreTrainedTokenizerBase,
    dialogue: str,
    budget: int,
    instruction: str | None = None,
    topic: str | None = None,
) -> Fitted:
    """Shortens a dialogue until its prompt has at most `budget` tokens; header and instruction stay."""

    def encode(text: str) -> list[int]:
        return render(tokenizer, model_messages(tokenizer, text, instruction, topic), generation=True)

    return shorten(tokenizer, neutralize(tokenizer, prompt_texts(tokenizer).asked(dialogue)), encode, budget)


def encode_row(
    tokenizer: PreTrainedTokenizerBase,
    dialogue: str,
    summary: str,
    stop_ids: list[int],
    max_length: int = MAX_LENGTH,
    instruction: str | None = None,
    topic: str | None = None,
) -> tuple[dict, Fitted]:
    """One training row: `{"input_ids", "labels"}` (labels -100 on the prompt), at most `max_length` tokens.

    The whole summary and its end-of-turn token are always supervised; only the dialogue gives way.
    """
    summary = neutralize(tokenizer, prompt_texts(tokenizer).target(dialogue, summary))
    answer = [{"role": "assistant", "content": summary.strip()}]
    bare = model_messages(tokenizer, "", instruction, topic)
    bare_ids = render(tokenizer, bare, generation=True)
    completion = encode_completion(tokenizer, bare_ids, bare + answer, stop_ids)
    if len(bare_ids) + len(completion) >= max_length:
        raise InputError(
            f"the summary has {len(completion)} tokens and the bare prompt {len(bare_ids)}: with --max_length "
            f"{max_length} supervised tokens would be lost; raise --max_length or shorten the summary"
        )
    fitted = fit(tokenizer, dialogue, max_length - len(completion), instruction, topic)
    # rendered again as a whole: the template must give the same completion after the real prompt
    again = encode_completion(
        tokenizer, fitted.prompt_ids, model_messages(tokenizer, fitted.text, instruction, topic) + answer, stop_ids
    )
    input_ids = fitted.prompt_ids + again
    return {"input_ids": input_ids, "labels": [-100] * len(fitted.prompt_ids) + again}, fitted
