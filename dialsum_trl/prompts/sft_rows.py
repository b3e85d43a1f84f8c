"""Rows to token ids for training, with a count of what had to be shortened."""

import random
from dataclasses import dataclass, field

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.defaults import SEED
from dialsum_trl.core.settings.prompt_texts import INSTRUCTIONS
from dialsum_trl.data.lengths import LIMITS, share_over
from dialsum_trl.prompts.prompt import encode_prompt, encode_row, prompt_texts
from dialsum_trl.prompts.shortening import Fitted


@dataclass
class FitReport:
    """How the rows of one split met `max_length`."""

    rows: int = 0
    shortened: int = 0
    cut: int = 0
    prompt_lengths: list[int] = field(default_factory=list)  # tokens, before shortening where it was needed

    def add(self, fitted: Fitted, length: int) -> None:
        """Counts a row; `length`: tokens of its prompt before shortening."""
        self.prompt_lengths.append(length)
        self.rows += 1
        self.shortened += fitted.shortened
        self.cut += fitted.cut

    def line(self, split: str, max_length: int) -> str:
        """What a run prints of it."""
        cut = f" ({self.cut} inside a turn)" if self.cut else ""
        over = ", over ".join(f"{limit} tokens: {share_over(self.prompt_lengths, limit):.2f} %" for limit in LIMITS)
        return f"{split}: {self.rows} rows, {self.shortened} shortened to {max_length} tokens{cut}; prompts over {over}"


def choose_instructions(
    rows: int, mode: str, seed: int, instructions: tuple[str, ...] = INSTRUCTIONS
) -> list[list[str]]:
    """The instructions that each row is shown with: the first, all, or one drawn by `seed`."""
    if mode == "all":
        return [list(instructions)] * rows
    if mode == "random":
        draw = random.Random(seed)
        return [[draw.choice(instructions)] for _ in range(rows)]
    return [[instructions[0]]] * rows


def encode_dataset(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    stop_ids: list[int],
    max_length: int,
    instructions: str = "default",
    seed: int = SEED,
) -> tuple[Dataset, FitReport]:
    """Encodes every row of `data.read_dialogues` for SFT.

    Args:
        dataset: columns fname, dialogue, summaries and topic; the first summary is the target.
        stop_ids: `chat_tokens.stop_token_ids(tokenizer)`.
        max_length: tokens of prompt and summary together.
        instructions: "default", "all" (a row per instruction and dialogue) or "random" (drawn by `seed`).

    Returns:
        A Dataset with `input_ids` and `labels`, and the `FitReport`.
    """
    report = FitReport()
    encoded = {"input_ids": [], "labels": []}
    shown_with = choose_instructions(len(dataset), instructions, seed, prompt_texts(tokenizer).instructions)
    for row, chosen in zip(dataset, shown_with, strict=True):
        for instruction in chosen:
            try:
                ids, fitted = encode_row(
                    tokenizer, row["dialogue"], row["summaries"][0], stop_ids, max_length, instruction, row.get("topic")
                )
            except InputError as error:
                raise InputError(f"row {row['fname']}: {error}") from None
            encoded["input_ids"].append(ids["input_ids"])
            encoded["labels"].append(ids["labels"])
            whole = fitted.prompt_ids
            if fitted.shortened:
                whole = encode_prompt(tokenizer, row["dialogue"], instruction, row.get("topic"))
            report.add(fitted, len(whole))
    return Dataset.from_dict(encoded), report
