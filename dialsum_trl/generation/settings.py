"""How summaries are generated, and what one is."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import COUNT, bounds_of, check_numbers
from dialsum_trl.core.settings.defaults import MAX_LENGTH, MAX_NEW_TOKENS, NUM_BEAMS, SEED
from dialsum_trl.core.settings.flags import DecodingArguments

Ids = list[int]  # token ids of one sequence
OnFinish = Callable[[int], None]  # called with the number of prompts that have just finished


@dataclass
class GenerationSettings:
    """How summaries are generated.

    Attributes:
        max_new_tokens: longest summary, tokens.
        num_beams: beams; 1 is greedy, or sampling with `do_sample`.
        length_penalty: exponent of the length that a finished beam's score is divided by.
        no_repeat_ngram_size: no n-gram of the summary occurs twice; 0 allows all. With slot decoding the prompt is
            not counted.
        num_return_sequences: summaries per dialogue: the best beams, or independent samples.
        batch_size: prompts at a time; None: what the memory allows.
        temperature, top_p: of sampling.
        seed: of sampling. A sample depends on the seed and its prompt, not on its batch (with transformers' `generate`:
            on the batch too).
        max_length: tokens of prompt and summary; longer dialogues lose middle turns, as in training.

    Raises:
        InputError: a number is out of bounds, or settings exclude one another.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    num_beams: int = NUM_BEAMS
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_return_sequences: int = 1
    batch_size: int | None = None
    seed: int = SEED
    max_length: int = MAX_LENGTH

    def __post_init__(self) -> None:
        check_numbers(asdict(self), bounds_of([DecodingArguments]) | {"num_return_sequences": COUNT})
        if self.do_sample and self.num_beams > 1:
            raise InputError(f"--do_sample with --num_beams {self.num_beams}: sampling needs --num_beams 1")
        if not self.do_sample and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"--num_return_sequences {self.num_return_sequences}: {self.num_beams} beam(s) give at most as many "
                f"summaries; raise --num_beams or sample with --do_sample true --num_beams 1"
            )

    @property
    def samples(self) -> int:
        """Independent continuations of a prompt."""
        return 1 if self.num_beams > 1 else self.num_return_sequences

    @property
    def width(self) -> int:
        """Candidates of a prompt that are decoded side by side, beams or samples."""
        return self.num_beams * self.samples


@dataclass
class Summary:
    """One generated summary: its text, its length in tokens, and whether it was cut off by `max_new_tokens`."""

    text: str
    tokens: int
    hit_limit: bool
