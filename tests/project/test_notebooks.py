"""The notebooks: made by their script, and run from top to bottom on the toy."""

import json
import os
import runpy
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

MADE = runpy.run_path(str(ROOT / "notebooks" / "make.py"))


@pytest.mark.parametrize("name", MADE["PLACES"])
def test_a_notebook_is_what_its_script_writes(name):
    written = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert written == MADE["notebook"](*MADE["PLACES"][name])
    assert f'"{MADE["PLACES"][name][1]}"' in "".join("".join(cell["source"]) for cell in written["cells"])
    assert (ROOT / "accelerate_configs" / f"{MADE['PLACES'][name][1]}.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE["PLACES"])
def test_a_notebook_runs_from_top_to_bottom_on_the_toy(name, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for key, value in {"DIALSUM_NOTEBOOK": "toy", "HF_HUB_OFFLINE": "1", "PATH": commands}.items():
        monkeypatch.setenv(key, value)
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "outputs" / "report.html").exists()
    assert (tmp_path / "outputs" / "sft" / "test" / "submission.csv").read_text(encoding="utf-8").startswith("fname")
