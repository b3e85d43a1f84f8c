"""Flags that a stage takes and nothing reads are refused where they are given.

Every field of a trainer's configuration is a flag, and some belong to what this package does in another way; groups of
flags are shared by stages, and not every stage needs all of a group. A flag without effect would be taken for the cause
of a result.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dialsum_trl.core.errors import InputError


@dataclass(frozen=True)
class Unread:
    """`names` have no effect where the settings are as `where` says. `why` ends with the remedy."""

    names: tuple[str, ...]
    why: str
    where: Callable[[dict], bool] = lambda values: True
    fine: tuple = ()  # values beside the default that say what happens anyway


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
        names = [name for name in row.names if name in given]
        if not names or not row.where(values):
            continue
        for name in names:
            value = values[name]
            if value not in (defaults[name], *row.fine):
                shown = str(value).lower() if isinstance(value, bool) else value
                shown = " ".join(map(str, value)) if isinstance(value, list) else shown
                raise InputError(f"--{name} {shown}: has no effect in {stage}: {row.why}")
