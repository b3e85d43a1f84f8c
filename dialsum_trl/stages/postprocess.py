"""Rules that repair summaries after generation: each measured on dev, none used unless it helps."""

from dataclasses import dataclass

from dialsum_trl.core.settings.bounds import AT_LEAST_0
from dialsum_trl.core.settings.defaults import BOOTSTRAP
from dialsum_trl.core.settings.flags import DataArguments, RougeArguments, flag
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.data.summary_rules import RULES
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import rows_come_from


@dataclass
class PostprocessArguments:
    prediction_file: str | None = flag(None, "CSV fname,summary to measure or repair.")
    test_file: str | None = flag(None, "CSV or JSONL of the dialogues; every rule is measured if it has references.")
    rules: list[str] | None = flag(
        None, f"Rules to apply: {' '.join(RULES)}, or helping: those that help on these rows."
    )
    template: str | None = flag(None, "Sample submission whose order is used.")
    output_file: str | None = flag(None, "Where the repaired submission goes.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% interval.", bounds=AT_LEAST_0)


POSTPROCESS = Stage(
    "postprocess",
    job="dialsum_trl.stages.jobs.postprocess",
    groups=(DataArguments, RougeArguments, PostprocessArguments),
    unread=(rows_come_from("--test_file"),),
)


postprocess = command(
    POSTPROCESS,
    "postprocess",
    """Measures every rule on dev rows and, with `output_file`, applies the chosen ones.

    Returns:
        `{"deltas": list[RuleDelta] | None, "rules": list[str], "summaries": list[str]}`.
    """,
)
