"""A base is quantized tensor by tensor: its files are never held in main memory as a whole."""

import sys
import threading
from pathlib import Path

import pytest

from dialsum_trl.models.base import load_base
from tests.conftest import ROOT


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process has mapped")
@pytest.mark.parametrize(("quantization", "mapped"), [("4bit", False), ("none", True)])
def test_files_of_a_base_are_mapped_only_where_its_weights_stay_as_they_are(quantization, mapped):
    seen, done = [], threading.Event()

    def watch():
        while not done.wait(0.0005):
            seen.append("model.safetensors" in Path("/proc/self/maps").read_text())

    watcher = threading.Thread(target=watch)
    watcher.start()
    load_base(str(ROOT / "dialsum_trl" / "toy" / "llama"), dtype="float32", quantization=quantization, device="cpu")
    done.set()
    watcher.join()
    assert len(seen) > 5 and any(seen) == mapped
