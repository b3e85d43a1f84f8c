"""Bad input ends in one line that names the place and the remedy, exit code 2, and nothing on disk has changed."""

import os
import re
import subprocess

import pytest

from tests.bad_inputs import adapters, configs, models, tables, texts
from tests.bad_inputs.case import Place, snapshot
from tests.conftest import ROOT

CASES = [case for part in (tables, configs, models, adapters, texts) for case in part.CASES]
IN_A_SHELL = (
    "predictions: one latin-1 byte",
    "yaml: a Python object",
    "adapter: weights cut off",
    "template: that raises",
)


@pytest.fixture
def place(tmp_path, toy_base, trained_adapter):
    (tmp_path / "given").mkdir()
    return Place(tmp_path / "given", tmp_path / "out", toy_base, trained_adapter)


PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = [  # the code in first columns; `...` stands for names and numbers
    re.compile(".*".join(map(re.escape, message.split("..."))))
    for row in re.findall(r"^\|(.*?`.*?)\|", PAGE, re.MULTILINE)
    for message in re.findall(r"`([^`]+)`", row)
]


def test_the_corpus_is_large_and_its_names_are_unlike():
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_ends_in_one_line_and_touches_nothing(case, place, monkeypatch, capfd):
    case.prepare(place)
    monkeypatch.chdir(place.given)
    before = snapshot(place.given.parent)
    code = case.run(place, monkeypatch)
    errors = capfd.readouterr().err
    assert code == 2
    check_line(errors, case.says)
    assert any(message.search(errors.replace("`", "'")) for message in MESSAGES), f"troubleshooting.md lacks: {errors}"
    assert snapshot(place.given.parent) == before


@pytest.mark.parametrize("name", IN_A_SHELL)
def test_in_a_process_of_its_own_too(name, place):
    [case] = [case for case in CASES if case.name == name]
    case.prepare(place)
    before = snapshot(place.given.parent)
    run = subprocess.run(
        case.program(place), env=dict(os.environ), cwd=place.given, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 2, run.stderr
    check_line(run.stderr, case.says)
    assert snapshot(place.given.parent) == before


def check_line(errors: str, says: tuple[str, ...]) -> None:
    """Asserts that `errors` is one line for a reader, with every part of `says` in it; progress bars may precede it."""
    *bars, line = errors.rstrip("\n").split("\n")
    assert all(bar.strip() == "" or bar.startswith("\rLoading weights:") for bar in bars), errors
    line = line.split("\r")[-1]
    assert line.startswith("error: ") and len(line) < 1200 and line.isprintable(), errors
    for part in says:
        assert part in line
