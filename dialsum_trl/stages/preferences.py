"""Preference pairs without human labels: summaries sampled from an SFT adapter, ranked by Korean ROUGE."""

from dataclasses import dataclass

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import AT_LEAST_0, COUNT, SHARE
from dialsum_trl.core.settings.defaults import MAX_LENGTH, MAX_NEW_TOKENS
from dialsum_trl.core.settings.flags import SUMMARIZING, flag
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.rl.pair_making import MAX_REFERENCE_SHARE
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import NO_NEW_ADAPTER, ONE_BEAM, TRAINING_ONLY, rows_come_from


@dataclass
class PreferenceArguments:
    output_dir: str = flag("outputs/preferences", "Where samples.jsonl and pairs.jsonl go.")
    samples: int = flag(6, "Summaries sampled per dialogue, 4 to 8.")
    margin: float = flag(
        0.10, "Smallest difference in ROUGE (mean of 1, 2, L; 0 to 1) between chosen and rejected.", bounds=SHARE
    )
    length_tolerance: float = flag(
        0.20, "How much shorter one of the two may be, as a share of characters.", bounds=AT_LEAST_0
    )
    reference_share: float = flag(0.15, "Largest share of reference-against-sample pairs (at most 0.3).")
    faithfulness_share: float = flag(0.15, "Largest share of pairs whose rejected summary has one fact changed.")
    write_folds: str | None = flag(None, "Folder: write the training rows as two folds to train on, and stop.")
    trained_rows: bool = flag(False, "Allow an adapter that was trained on a file of this name.")
    max_length: int = flag(MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.", bounds=COUNT)
    use_cpu: bool = flag(False, "Run on the CPU.")

    def __post_init__(self) -> None:
        if not 2 <= self.samples <= 64:
            raise InputError(f"--samples {self.samples}: use 4 to 8; 2 is the minimum")
        if not 0 <= self.reference_share <= MAX_REFERENCE_SHARE:
            raise InputError(f"--reference_share {self.reference_share}: 0 to {MAX_REFERENCE_SHARE}")
        if not 0 <= self.faithfulness_share <= 0.5:
            raise InputError(f"--faithfulness_share {self.faithfulness_share}: 0 to 0.5")


PREFERENCES = Stage(
    "preferences",
    job="dialsum_trl.stages.jobs.preferences",
    groups=(*SUMMARIZING, PreferenceArguments),
    settings=dict(num_beams=1, do_sample=True, temperature=1.0, top_p=0.95, max_new_tokens=MAX_NEW_TOKENS),
    unread=(NO_NEW_ADAPTER, TRAINING_ONLY, rows_come_from("--train_file"), ONE_BEAM),
)


make_preferences = command(
    PREFERENCES,
    "make_preferences",
    """Writes `pairs.jsonl` from the rows of `train_file`, and says what was kept and why the rest was not.

    Returns:
        The figures of the closing table; `{"folds": paths}` when only folds were written.
    """,
)
