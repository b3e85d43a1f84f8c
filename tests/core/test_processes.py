"""How the processes of a run end: with no thread that outlives their connections, and with one process' words."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.two_processes import finish, start

THREADS_AT_THE_END = """
import glob, os, sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

def threads():
    return sorted(open(name).read().strip() for name in glob.glob("/proc/self/task/*/comm"))

store = distributed.FileStore(sys.argv[1], 1)
distributed.init_process_group("gloo", store=store, rank=0, world_size=1)

import torch.distributed.nn.functional as functional  # defaults of arguments hold the group: they are made now

def train():
    model = DistributedDataParallel(torch.nn.Linear(4, 4))
    model.circle = model
    model(torch.ones(2, 4)).sum().backward()
    distributed.barrier()

train()
assert any("gloo" in name for name in threads()), threads()
from dialsum_trl.core.processes import end_process_group
end_process_group()
print([name for name in threads() if "gloo" in name], functional.broadcast.__defaults__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of threads from /proc")
def test_no_thread_of_a_process_group_outlives_it_though_functions_hold_the_group_as_a_default(tmp_path):
    command = [sys.executable, "-c", THREADS_AT_THE_END, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] (None,)"
    assert "Warning" not in done.stderr  # of objects that were looked at


ONE_IS_WRONG = """
from torch import distributed
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.stages.common.command import command

def run():
    distributed.init_process_group("gloo")
    if distributed.get_rank() == {wrong}:
        raise InputError("--test_file: is not there")
    distributed.barrier()

command(Stage("report", "__main__", groups=()), "report", "")()
"""


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [0, 1])
def test_what_is_wrong_on_one_process_is_one_line_and_the_others_do_not_complain_of_their_connection(tmp_path, wrong):
    (tmp_path / "recipe.py").write_text(ONE_IS_WRONG.format(wrong=wrong))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = finish(start([*command, str(tmp_path / "recipe.py")], ROOT), 120)
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith(("error:", f"[rank{1 - wrong}]"))] == [
        f"error: {'rank 1: ' if wrong else ''}--test_file: is not there"
    ]
    assert "(exitcode: 2)" in done.stderr  # the launcher's own words follow, as of any process that failed
