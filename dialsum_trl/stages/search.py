"""The search for SFT's settings: rate, rank, epochs, dropout and prompt, by the summaries of dev rows."""

from dataclasses import dataclass

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import AT_LEAST_0, BELOW_1, COUNT, POSITIVE, SEEDS
from dialsum_trl.core.settings.defaults import BOOTSTRAP, LORA_DROPOUT, LORA_R, MAX_LENGTH, SEED
from dialsum_trl.core.settings.flags import (
    DataArguments,
    ModelArguments,
    PromptArguments,
    RougeArguments,
    flag,
    settings_of,
)
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command


@dataclass
class SearchArguments:
    output_dir: str = flag("outputs/search", "Where the trials, their table and chosen.yaml go.")
    trials: int = flag(12, "Settings to try.", bounds=COUNT)
    search_learning_rate: list[float] = flag([2e-5, 1e-3], "Lowest and highest rate, on a log scale.", POSITIVE)
    search_lora_r: list[int] = flag([LORA_R], "Ranks to choose from; alpha is twice the rank.", COUNT)
    search_num_train_epochs: list[int] = flag([3], "Epochs to choose from.", COUNT)
    search_lora_dropout: list[float] = flag([LORA_DROPOUT], "Dropouts to choose from.", BELOW_1)
    sft: dict | str | None = flag(None, 'Other settings of the SFT as JSON: {"effective_batch_size": 32}.')
    prune: bool = flag(True, "Stop a trial after an epoch whose dev score is below the median of the others'.")
    seed: int = flag(SEED, "Seed of the search and of every training.", bounds=SEEDS)
    max_length: int = flag(MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.", bounds=COUNT)
    use_cpu: bool = flag(False, "Run on the CPU.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% interval.", bounds=AT_LEAST_0)

    def __post_init__(self) -> None:
        if len(self.search_learning_rate) != 2 or self.search_learning_rate[0] > self.search_learning_rate[1]:
            raise InputError("--search_learning_rate: give the lowest and the highest rate, such as 2e-5 1e-3")
        self.sft = settings_of("sft", self.sft)


SEARCH = Stage(
    "search",
    job="dialsum_trl.stages.pipelines.search",
    groups=(DataArguments, PromptArguments, ModelArguments, RougeArguments, SearchArguments),
    unread=(
        Unread("lora_r lora_alpha", "ranks are searched; leave it out, or give --search_lora_r"),
        Unread("lora_dropout", "dropouts are searched; leave it out, or give --search_lora_dropout"),
        Unread("adapter_path", "an adapter keeps its LoRA settings, and new ones are searched"),
        Unread("instructions", "each --instruction is tried alone"),
    ),
)


search = command(
    SEARCH,
    "search",
    """Trains with several settings and writes the one with the best dev summaries as `chosen.yaml`.

    Returns:
        `{"chosen", "trials"}`: settings, and `{"place", "settings", "score"}` of each trial; None where pruned.
    """,
)
