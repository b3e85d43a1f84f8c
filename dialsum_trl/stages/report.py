"""From folders of predictions and runs to one HTML file."""

from dataclasses import dataclass, field

from dialsum_trl.core.settings.defaults import BOOTSTRAP
from dialsum_trl.core.settings.flags import flag


@dataclass
class ReportArguments:
    systems: list[str] | None = field(
        default=None,
        metadata={"help": "name=outputs/x ..., folders of predict or ensemble or files fname,summary, in their order."},
    )
    test_file: str | None = flag(None, "CSV or JSONL with dialogues and references that all systems are scored on.")
    runs: list[str] | None = field(
        default=None,
        metadata={"help": "name=outputs/sft ..., training runs; default: the systems' own that lie beside them."},
    )
    focus: str | None = flag(None, "System whose best and worst dialogues are shown; default: the last one.")
    tokenizer: str | None = flag(None, "Model whose tokens are counted; default: the runs' own, else characters.")
    title: str | None = flag(None, "Heading; default: the name of the test file.")
    note: str | None = flag(None, "A sentence under the heading.")
    output_file: str = flag("outputs/report.html", "The page; its figures go beside it as .json.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% intervals.")
