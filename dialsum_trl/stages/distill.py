"""Self-distillation: an adapter learns the consensus of its own samples, without references."""

from dataclasses import dataclass

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import AT_LEAST_0, COUNT
from dialsum_trl.core.settings.defaults import MAX_LENGTH, MAX_NEW_TOKENS
from dialsum_trl.core.settings.flags import SUMMARIZING, flag, settings_of
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import NO_NEW_ADAPTER, ONE_BEAM, TRAINING_ONLY

LEARN = ("sft", "dpo")


@dataclass
class DistillArguments:
    output_dir: str = flag("outputs/distill", "Where each round's samples, rows, pairs and adapters go.")
    unlabelled_files: list[str] | None = flag(None, "More dialogues, without summaries, in the format of --train_file.")
    samples: int = flag(16, "Summaries sampled per dialogue.", bounds="[3, 64]")
    rounds: int = flag(1, "How often the adapter is sampled from and trained further.", bounds=COUNT)
    learn: list[str] = flag(
        ["sft"], "What is learned, in this order: sft (the sample that agrees most), dpo (it against the least)."
    )
    sft: dict | str | None = flag(None, 'Settings of the SFT as JSON: {"learning_rate": 2e-5}.')
    dpo: dict | str | None = flag(None, 'Settings of the DPO as JSON: {"learning_rate": 5e-6, "beta": 0.1}.')
    folds_dir: str | None = flag(None, "Folder of recipes/folds.py: each row's samples are of an adapter without it.")
    references: bool = flag(False, "SFT: learn the references of --train_file, too.")
    length_ratio: float = flag(2.0, "Samples beyond this factor of the median length are left out; 0 keeps all.")
    margin: float = flag(0.05, "DPO: smallest difference in agreement (ROUGE, 0 to 1) of a pair.", bounds="(0, 1]")
    length_tolerance: float = flag(
        0.20, "DPO: how much shorter one of the two may be, as a share of characters.", bounds=AT_LEAST_0
    )
    max_length: int = flag(MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.", bounds=COUNT)
    use_cpu: bool = flag(False, "Run on the CPU.")

    def __post_init__(self) -> None:
        if not self.learn or set(self.learn) - set(LEARN) or len(set(self.learn)) < len(self.learn):
            raise InputError(f"--learn {' '.join(self.learn)}: give sft, dpo or both, each once")
        self.sft, self.dpo = settings_of("sft", self.sft), settings_of("dpo", self.dpo)


DISTILL = Stage(
    "distill",
    job="dialsum_trl.stages.pipelines.distill",
    groups=(*SUMMARIZING, DistillArguments),
    settings=dict(num_beams=1, do_sample=True, temperature=0.7, max_new_tokens=MAX_NEW_TOKENS),
    unread=(NO_NEW_ADAPTER, TRAINING_ONLY, ONE_BEAM),
)


distill = command(
    DISTILL,
    "distill",
    """Trains the SFT adapter further on the consensus of its own samples; no reference is looked at to choose it.

    Returns:
        The figures of the closing table; "adapter" is the last one's folder.
    """,
)
