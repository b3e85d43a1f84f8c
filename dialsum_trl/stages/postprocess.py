"""Rules that mend summaries after generation: each apart, each measured on dev, none used unless it helps.

apply(summary, ["strip", "masks"], dialogue)
deltas = rule_deltas(summaries, references, dialogues)     # what each rule is worth on dev
print(deltas_table(deltas)); helping(deltas)               # the rules whose 95 % interval lies above 0
"""

from dataclasses import dataclass, field

from dialsum_trl.core.settings.defaults import BOOTSTRAP
from dialsum_trl.data.summary_rules import RULES


@dataclass
class PostprocessArguments:
    prediction_file: str | None = field(default=None, metadata={"help": "CSV fname,summary to measure or mend."})
    test_file: str | None = field(
        default=None,
        metadata={"help": "CSV or JSONL of the dialogues; every rule is measured where it has references."},
    )
    rules: list[str] | None = field(
        default=None,
        metadata={"help": f"Rules to apply: {' '.join(RULES)}, or helping: those that help on these rows."},
    )
    template: str | None = field(default=None, metadata={"help": "Sample submission whose order is taken."})
    output_file: str | None = field(default=None, metadata={"help": "Where the mended submission goes."})
    bootstrap: int = field(default=BOOTSTRAP, metadata={"help": "Resamples of the 95 %% interval."})
