"""Built on the first process, sent to all."""

from accelerate.utils import broadcast_object_list

from dialsum_trl.core.console import is_main_process
from dialsum_trl.core.launcher import current


def once(build):
    """`build()` on the first process of the run, its result on all of them (it is pickled)."""
    topology = current()
    if topology.processes == 1:
        return build()
    return broadcast_object_list([build() if is_main_process() else None])[0]
