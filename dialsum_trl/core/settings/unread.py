"""Flags that a stage takes and nothing reads: one table, asked where the settings are merged.

Every field of a trainer's configuration is a flag, and some belong to what this package does in another way; groups of
flags are shared by stages, and not every stage needs all of a group. Who gives one would believe in a result that it
has no part in.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dialsum_trl.core.errors import InputError


@dataclass(frozen=True)
class Unread:
    """`names` have no effect in `stages`, where the settings are as `where` says. `why` ends with the remedy."""

    stages: tuple[str, ...]
    names: tuple[str, ...]
    why: str
    where: Callable[[dict], bool] = lambda values: True
    fine: tuple = ()  # values beside the default that say what happens anyway


def refuse_unread(stage: str | None, values: dict, given: set[str], defaults: dict) -> None:
    """Raises InputError for the first flag that the user set to what nothing of the stage reads.

    Args:
        stage: one of `settings_file.STAGES`.
        values: the merged settings (a namespace dict).
        given: names that the user set for this stage.
        defaults: flag -> the value it has when nobody sets it.
    """
    from dialsum_trl.stages.common.unread import TABLE

    for row in TABLE:
        if stage not in row.stages or not row.where(values):
            continue
        for name in (name for name in row.names if name in given):
            value = values[name]
            if value not in (defaults[name], *row.fine):
                shown = str(value).lower() if isinstance(value, bool) else value
                shown = " ".join(map(str, value)) if isinstance(value, list) else shown
                raise InputError(f"--{name} {shown}: has no effect in {stage}: {row.why}")
