"""Which adapter, decoding, prompt and rules for speech score best on dev: its flags and `decoding_sweep`."""

from dataclasses import dataclass, field

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import AT_LEAST_0, COUNT
from dialsum_trl.core.settings.defaults import BOOTSTRAP, MAX_LENGTH, MAX_NEW_TOKENS
from dialsum_trl.core.settings.flags import SUMMARIZING, MetricArguments, flag
from dialsum_trl.core.settings.prompt_texts import SPEECH_RULES, read_instructions, with_line_breaks
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import MODEL_SCORES, NO_NEW_ADAPTER, TRAINING_ONLY, rows_come_from


@dataclass
class SweepArguments(MetricArguments):
    adapter_paths: list[str] | None = flag(
        None, "Adapters to compare; none is the base model alone. Default: --adapter_path."
    )
    sweep_num_beams: list[int] = flag([1, 2, 4, 8], "Beams to try.")
    sweep_length_penalty: list[float] = flag([0.8, 1.0, 1.2], "Length penalties to try (with 2 beams or more).")
    sweep_no_repeat_ngram_size: list[int] = flag([0, 3], "Sizes of n-grams that may not repeat; 0 allows all.")
    sweep_max_new_tokens: list[int] = flag([MAX_NEW_TOKENS], "Token limits to try.")
    sweep_instruction: list[str] | None = flag(None, "Instructions to try, as --instruction; default: the model's own.")
    sweep_instructions_file: str | None = flag(None, "Text file with an instruction to try per line, instead.")
    sweep_system_prompt: list[str] | None = flag(None, "System texts to try; default: the model's own.")
    sweep_speech_rules: list[str] | None = flag(
        None, f"Sets of rules to try: none, {', '.join(SPEECH_RULES)}, or several joined by a plus; default: its own."
    )
    trials: int | None = flag(None, "Settings drawn from the grid by --seed; default: the whole grid.", bounds=COUNT)
    test_file: str | None = flag(None, "Rows of the submission made with the chosen setting; default: the dev rows.")
    template: str | None = flag(None, "Sample submission whose rows and order the submission takes.")
    output_dir: str = flag("outputs/decoding_sweep", "Where trials.jsonl, chosen.yaml and the submission go.")
    max_length: int = flag(MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.", bounds=COUNT)
    use_cpu: bool = flag(False, "Run on the CPU.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% intervals.", bounds=AT_LEAST_0)
    given: frozenset[str] = field(default=frozenset(), init=False)  # names that the user set, by `settings.resolve`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sweep_instructions_file:
            if self.sweep_instruction:
                raise InputError("--sweep_instruction and --sweep_instructions_file exclude each other: leave one out")
            self.sweep_instruction = read_instructions(self.sweep_instructions_file, "--sweep_instructions_file")
        for name in ("sweep_instruction", "sweep_system_prompt"):
            setattr(self, name, [with_line_breaks(text) for text in getattr(self, name) or []])
        for rules in self.sweep_speech_rules or []:
            if unknown := set(rules.split("+")) - {*SPEECH_RULES} if rules != "none" else set():
                raise InputError(
                    f"--sweep_speech_rules {rules}: '{min(unknown)}' must be one of {', '.join(SPEECH_RULES)}, or the "
                    "whole none"
                )


DECODING_SWEEP = Stage(
    "decoding_sweep",
    job="dialsum_trl.stages.jobs.decoding_sweep",
    groups=(*SUMMARIZING, SweepArguments),
    unread=(
        NO_NEW_ADAPTER,
        TRAINING_ONLY,
        rows_come_from("--eval_file"),
        Unread("temperature top_p", "beams are searched, not sampled"),
        *MODEL_SCORES,
    ),
)


decoding_sweep = command(
    DECODING_SWEEP,
    "decoding_sweep",
    """Scores every setting on `eval_file`, prints the table and writes the submission of the best one.

    Returns:
        `{"chosen": setting, "trials": list, "gain": figures}`; a trial is a line of `trials.jsonl`.
    """,
)
