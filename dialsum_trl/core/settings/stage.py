"""What a stage tells of itself to the resolver of settings and to the command around it.

Every field of a trainer's configuration is a flag, and stages share groups of flags: those that a stage takes and
nothing reads are refused where they are given. A flag without effect would be taken for the cause of a result.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from dialsum_trl.core.errors import InputError

DECODING = ("--batch_size", "--max_length", "--max_new_tokens")


@dataclass(frozen=True)
class Unread:
    """`flags`, separated by spaces, have no effect where the settings are as `where` says.

    `why` ends with the remedy after a semicolon; without one it is to leave the flag out.
    """

    flags: str
    why: str
    where: Callable[[dict], bool] = lambda values: True
    fine: tuple = ()  # values beside the default that say what happens anyway

    @property
    def names(self) -> list[str]:
        return self.flags.split()


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline; `stages/*.py` hold one each.

    Args:
        name: its section in a `--config` file, and its name in messages.
        job: dotted name of the module that does its work, loaded once all flags are understood: torch comes with it.
        groups: dataclasses of flags, in the order in which `resolve` returns them.
        settings: defaults of the stage: above the trainer's, below a recipe's.
        trainer: dotted name of the trainer's config class, whose fields are flags too; None where nothing is trained.
        memory_flags: the three flags that help most when GPU memory runs out.
        unread: flags that the stage takes and nothing reads.
        replicated: every process needs the whole model and its own optimizer, so that nothing can be split.
        sections: names of all stages, whose sections in a config file are theirs; filled in by `stages.common.command`.
        before: called when settings are resolved and torch is not loaded yet.
    """

    name: str
    job: str
    groups: tuple[type, ...]
    settings: dict = field(default_factory=dict)
    trainer: str | None = None
    memory_flags: tuple[str, str, str] = DECODING
    unread: tuple[Unread, ...] = ()
    replicated: bool = False
    sections: tuple[str, ...] = ()
    before: Callable[[], None] | None = None

    @property
    def trains(self) -> bool:
        """Whether the stage has a trainer, whose settings it takes as flags."""
        return self.trainer is not None


def refuse_unread(stage: str, unread: tuple[Unread, ...], values: dict, given: set[str], defaults: dict) -> None:
    """Raises InputError for the first flag that the user set to what nothing of the stage reads.

    Args:
        stage: its name, for the message.
        unread: of the stage.
        values: the merged settings.
        given: names that the user set for this stage.
        defaults: flag -> the value it has when nobody sets it.
    """
    for row in unread:
        for name in row.names:
            if name in given and row.where(values) and (value := values[name]) not in (defaults[name], *row.fine):
                shown = str(value).lower() if isinstance(value, bool) else value
                shown = " ".join(map(str, value)) if isinstance(value, list) else shown
                remedy = "" if ";" in row.why else "; leave it out"
                raise InputError(f"--{name} {shown}: has no effect in {stage}: {row.why}{remedy}")
