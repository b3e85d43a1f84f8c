"""Ensembles: the consensus of several prediction files, or one adapter averaged from several."""

from dataclasses import dataclass

from dialsum_trl.core.settings.bounds import AT_LEAST_0, COUNT
from dialsum_trl.core.settings.defaults import BOOTSTRAP, MAX_LENGTH
from dialsum_trl.core.settings.flags import SUMMARIZING, flag
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import NO_NEW_ADAPTER, TRAINING_ONLY, rows_come_from


@dataclass
class EnsembleArguments:
    prediction_files: list[str] | None = flag(
        None, "CSVs fname,summary or folders of predict, one per model or sample: the consensus is chosen."
    )
    adapter_paths: list[str] | None = flag(
        None, "Adapters to average into one instead (all trained further from the same one)."
    )
    weights: list[float] | None = flag(
        None, "One per adapter, or per prediction file (how much agreement with it counts); default: equal."
    )
    length_ratio: float = flag(2.0, "Candidates beyond this factor of the median length are left out; 0 keeps all.")
    greedy: bool = flag(False, "Adapters: average only those that do not lower ROUGE on --test_file.")
    test_file: str | None = flag(None, "CSV or JSONL of the dialogues; scored when it has references.")
    template: str | None = flag(None, "Sample submission whose rows and order the submission takes.")
    output_dir: str = flag("outputs/ensemble", "Where submission.csv and scores.json go, or the averaged adapter.")
    max_length: int = flag(MAX_LENGTH, "--greedy: tokens of prompt + summary.", bounds=COUNT)
    use_cpu: bool = flag(False, "--greedy: run on the CPU.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% interval.", bounds=AT_LEAST_0)


ENSEMBLE = Stage(
    "ensemble",
    job="dialsum_trl.stages.jobs.ensemble",
    groups=(*SUMMARIZING, EnsembleArguments),
    unread=(NO_NEW_ADAPTER, TRAINING_ONLY, rows_come_from("--test_file")),
)


ensemble = command(
    ENSEMBLE,
    "ensemble",
    """Writes the consensus of `prediction_files` as a submission, or the soup of `adapter_paths` as an adapter.

    Returns:
        Consensus: `{"summaries", "chosen", "systems", "differences"}` (the last two None without references).
        Soup: `{"adapter", "kept", "dev_score"}`.
    """,
)
