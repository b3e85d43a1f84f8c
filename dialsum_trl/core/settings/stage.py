"""What a stage tells of itself to the resolver of settings and to the command around it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from dialsum_trl.core.settings.unread import Unread

DECODING = ("--batch_size", "--max_length", "--max_new_tokens")


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline; `stages/*.py` hold one each.

    Args:
        name: its section in a `--config` file, and its name in messages.
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
