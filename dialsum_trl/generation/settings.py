"""`GenerationSettings` and `Summary`."""

from dataclasses import dataclass

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.defaults import MAX_LENGTH, MAX_NEW_TOKENS, NUM_BEAMS, SEED


@dataclass
class GenerationSettings:
    """How summaries are generated.

    Attributes:
        max_new_tokens: longest summary, tokens.
        num_beams: beams; 1 is greedy, or sampling with `do_sample`.
        length_penalty: exponent of the length that a finished beam's score is divided by.
        no_repeat_ngram_size: no n-gram of the summary occurs twice; 0 allows all. For Llama and Qwen the prompt is not
            counted.
        num_return_sequences: summaries a dialogue: the best beams, or independent samples.
        batch_size: prompts at a time; None: what the memory allows.
        seed: of sampling. A sample depends on the seed and its prompt, not on its batch (with transformers' `generate`:
            on the batch too).
        max_length: tokens of prompt and summary; longer dialogues lose middle turns, as in training.
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
        for name in ("max_new_tokens", "num_beams", "num_return_sequences"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(
                f"--batch_size {self.batch_size}: must be at least 1; leave it out to use the memory there is"
            )
        if self.no_repeat_ngram_size < 0:
            raise InputError(f"--no_repeat_ngram_size {self.no_repeat_ngram_size}: must be 0 (off) or more")
        if self.do_sample and self.num_beams > 1:
            raise InputError(f"--do_sample with --num_beams {self.num_beams}: sampling needs --num_beams 1")
        if self.do_sample and not (self.temperature > 0 and 0 < self.top_p <= 1):
            raise InputError(
                f"--temperature {self.temperature} --top_p {self.top_p}: need temperature > 0 and 0 < top_p <= 1 "
                f"(greedy decoding is --do_sample false --num_beams 1)"
            )
        if not self.do_sample and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"--num_return_sequences {self.num_return_sequences}: {self.num_beams} beam(s) give at most as many "
                f"summaries; raise --num_beams or sample with --do_sample true --num_beams 1"
            )

    @property
    def width(self) -> int:
        """Candidates of a prompt that are decoded side by side."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences


@dataclass
class Summary:
    """One generated summary: its text, its length in tokens, and whether it was cut off by `max_new_tokens`."""

    text: str
    tokens: int
    hit_limit: bool
