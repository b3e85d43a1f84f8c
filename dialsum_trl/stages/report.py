"""The report that compares systems: its flags and `report`."""

from dataclasses import dataclass

from dialsum_trl.core.settings.bounds import AT_LEAST_0
from dialsum_trl.core.settings.defaults import BOOTSTRAP
from dialsum_trl.core.settings.flags import DataArguments, MetricArguments, RougeArguments, flag
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import MODEL_SCORES


@dataclass
class ReportArguments(MetricArguments):
    systems: list[str] | None = flag(
        None, "name=outputs/x ..., folders of predict or ensemble or files fname,summary, in their order."
    )
    test_file: str | None = flag(None, "CSV or JSONL with dialogues and references that all systems are scored on.")
    runs: list[str] | None = flag(
        None, "name=outputs/sft ..., training runs; default: the systems' adapters in the same parent folder."
    )
    focus: str | None = flag(None, "System whose best and worst dialogues are shown; default: the last one.")
    tokenizer: str | None = flag(None, "Model whose tokens are counted; default: the runs' own, else characters.")
    title: str | None = flag(None, "Heading; default: the name of the test file.")
    note: str | None = flag(None, "A sentence under the heading.")
    output_file: str = flag("outputs/report.html", "The page; its figures are written next to it as .json.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% intervals.", bounds=AT_LEAST_0)


REPORT = Stage(
    "report",
    job="dialsum_trl.stages.jobs.report",
    groups=(DataArguments, RougeArguments, ReportArguments),
    unread=(
        Unread("eval_file dataset_name drop_shared_rows", "the page is of other rows; give them as --test_file"),
        *MODEL_SCORES,
    ),
)


report = command(
    REPORT,
    "report",
    """Scores all systems on the same rows and writes the page and its figures.

    Returns:
        The figures, as in the `.json` file.
    """,
)
