"""The connections between the processes of a run, and their end."""

import gc
import sys
import time

LAST_MOMENT = 0.2  # seconds


def end_process_group() -> None:
    """Ends the connections of this process to the others, if there are any, and the threads that served them.

    `destroy_process_group` alone leaves Gloo's threads to whoever still holds the group. A thread that releases a
    tensor during interpreter shutdown waits for the interpreter's lock and aborts the finished process
    (pytorch/pytorch#190489). Functions defined while the group exists keep a reference to it, as the default of an
    argument `group`: those of `torch.distributed.nn.functional` and of DeepSpeed's backend. These references are
    removed, and the threads end with the last one. If others remain (DeepSpeed's engine, the mesh of FSDP2), the
    threads get a moment.
    """
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return
    group = distributed.group.WORLD
    distributed.destroy_process_group()
    functional, backend = map(sys.modules.get, ("torch.distributed.nn.functional", "deepspeed.comm.torch"))
    for holder in filter(None, (functional, getattr(backend, "TorchBackend", None))):
        for function in vars(holder).values():
            if any(value is group for value in getattr(function, "__defaults__", None) or ()):
                function.__defaults__ = tuple(None if value is group else value for value in function.__defaults__)
    del group
    gc.collect()  # a trainer and its model are circles
    time.sleep(LAST_MOMENT)
