"""Which adapter and which decoding score best on dev: every setting once, resumable, one submission at the end."""

from dataclasses import dataclass, field

from dialsum_trl.core.settings.defaults import BOOTSTRAP, MAX_LENGTH, MAX_NEW_TOKENS
from dialsum_trl.core.settings.flags import flag


@dataclass
class SweepArguments:
    adapter_paths: list[str] | None = field(
        default=None, metadata={"help": "Adapters to compare; none is the base model alone. Default: --adapter_path."}
    )
    sweep_num_beams: list[int] = field(default_factory=lambda: [1, 2, 4, 8], metadata={"help": "Beams to try."})
    sweep_length_penalty: list[float] = field(
        default_factory=lambda: [0.8, 1.0, 1.2], metadata={"help": "Length penalties to try (with 2 beams or more)."}
    )
    sweep_no_repeat_ngram_size: list[int] = field(
        default_factory=lambda: [0, 3], metadata={"help": "Sizes of n-grams that may not repeat; 0 allows all."}
    )
    sweep_max_new_tokens: list[int] = field(
        default_factory=lambda: [MAX_NEW_TOKENS], metadata={"help": "Token limits to try."}
    )
    trials: int | None = flag(None, "Settings drawn from the grid by --seed; default: the whole grid.")
    test_file: str | None = flag(None, "Rows of the submission made with the chosen setting; default: the dev rows.")
    template: str | None = flag(None, "Sample submission whose rows and order the submission takes.")
    output_dir: str = flag("outputs/decoding_sweep", "Where trials.jsonl, chosen.yaml and the submission go.")
    max_length: int = flag(MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.")
    use_cpu: bool = flag(False, "Run on the CPU.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% intervals.")
