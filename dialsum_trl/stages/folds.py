"""Folds: an adapter for each part of the training rows that it has not seen, and the consensus of all of them."""

from dataclasses import dataclass

from dialsum_trl.core.settings.bounds import AT_LEAST_0, COUNT
from dialsum_trl.core.settings.defaults import BOOTSTRAP, MAX_LENGTH
from dialsum_trl.core.settings.flags import SUMMARIZING, flag, settings_of
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command


@dataclass
class FoldsArguments:
    output_dir: str = flag("outputs/folds", "Where the folds, their adapters and the consensus go.")
    folds: int = flag(5, "Parts of the training rows; each is left out by one adapter.", bounds="[2, 20]")
    sft: dict | str | None = flag(None, 'Settings of the SFT as JSON: {"num_train_epochs": 3}.')
    test_file: str | None = flag(None, "Dialogues that every adapter summarizes, for the consensus.")
    template: str | None = flag(None, "Sample submission whose rows and order the consensus takes.")
    candidates: int = flag(
        1, "Summaries of each test dialogue by each adapter: 1 is the search's, more are sampled.", bounds=COUNT
    )
    prediction_files: list[str] | None = flag(None, "Files of other systems that vote with the folds.")
    length_ratio: float = flag(2.0, "Candidates beyond this factor of the median length are left out; 0 keeps all.")
    max_length: int = flag(MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.", bounds=COUNT)
    use_cpu: bool = flag(False, "Run on the CPU.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% interval.", bounds=AT_LEAST_0)

    def __post_init__(self) -> None:
        self.sft = settings_of("sft", self.sft)


FOLDS = Stage(
    "folds",
    job="dialsum_trl.stages.pipelines.folds",
    groups=(*SUMMARIZING, FoldsArguments),
    settings=dict(temperature=0.7),
    unread=(
        Unread("eval_file", "each fold is scored on the rows that it leaves out"),
        Unread("do_sample", "--candidates says how many are sampled"),
    ),
)


train_folds = command(
    FOLDS,
    "train_folds",
    """Trains an adapter per fold, summarizes the rows that each left out, and writes the consensus of the test rows.

    Returns:
        The figures of the closing table; "scores" is the RougeReport of all rows out of fold.
    """,
)
