"""Ensembles: the consensus of several prediction files, or one adapter averaged from several."""

from dataclasses import dataclass, field

from dialsum_trl.core.settings.defaults import BOOTSTRAP, MAX_LENGTH


@dataclass
class EnsembleArguments:
    prediction_files: list[str] | None = field(
        default=None,
        metadata={"help": "CSVs fname,summary or folders of predict, one a model or sample: the consensus is chosen."},
    )
    adapter_paths: list[str] | None = field(
        default=None, metadata={"help": "Adapters to average into one instead (all must share their start)."}
    )
    weights: list[float] | None = field(
        default=None,
        metadata={"help": "One an adapter, or a prediction file (how much agreeing with it counts); default: alike."},
    )
    length_ratio: float = field(
        default=2.0,
        metadata={"help": "Candidates beyond this factor of the median length are left out; 0 keeps all."},
    )
    greedy: bool = field(
        default=False, metadata={"help": "Adapters: average only those that do not lower ROUGE on --test_file."}
    )
    test_file: str | None = field(
        default=None, metadata={"help": "CSV or JSONL of the dialogues; scored when it has references."}
    )
    template: str | None = field(
        default=None, metadata={"help": "Sample submission whose rows and order the submission takes."}
    )
    output_dir: str = field(
        default="outputs/ensemble",
        metadata={"help": "Where submission.csv and scores.json go, or the averaged adapter."},
    )
    max_length: int = field(default=MAX_LENGTH, metadata={"help": "--greedy: tokens of prompt + summary."})
    use_cpu: bool = field(default=False, metadata={"help": "--greedy: run on the CPU."})
    bootstrap: int = field(default=BOOTSTRAP, metadata={"help": "Resamples of the 95 %% interval."})
