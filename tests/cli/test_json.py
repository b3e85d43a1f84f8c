"""`--json`: one object on standard output, the exit code as before; exit codes as documented; and completion."""

import json
import os
import re
import subprocess
import sys

import pytest

from dialsum_trl.stages.common.command import INTERRUPTED
from tests.conftest import ROOT, TINY

DIALSUM = (sys.executable, "-c", "from dialsum_trl.cli.app import main; main()")
DATA = TINY / "data"


def dialsum(*arguments, **environment):
    return subprocess.run(
        [*DIALSUM, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_check_gives_findings_by_file_and_by_pair(tmp_path):
    done = dialsum("check", DATA / "train.csv", DATA / "dev.csv", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["ready"]
    pair = f"{DATA / 'train.csv'} and {DATA / 'dev.csv'}"
    assert list(found["findings"]) == [str(DATA / "train.csv"), str(DATA / "dev.csv"), pair]
    assert found["findings"][pair][0]["level"] == "note"


def test_check_of_a_file_that_cannot_be_read_is_json_too(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    done = dialsum("check", tmp_path / "x.csv", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and not found["ready"]
    assert found["findings"][str(tmp_path / "x.csv")][0]["level"] == "error"


def test_score_gives_a_report_per_configuration():
    done = dialsum("score", DATA / "dev.csv", DATA / "dev.csv", "--bootstrap", "0", "--json")
    scores = json.loads(done.stdout)["scores"]
    assert scores[0]["mean"] == 100 and scores[0]["config"]["tokenizer"] == "mecab" and len(scores) == 5


def test_doctor_gives_findings_and_its_exit_code():
    done = dialsum("doctor", "--json", HF_HUB_OFFLINE="1")
    found = json.loads(done.stdout)
    assert {one["state"] for one in found["findings"]} <= {"ok", "warn", "fail"}
    assert done.returncode == (0 if found["ready"] else 1)


def test_exit_codes_are_those_of_the_documents(tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    dev = DATA / "dev.csv"
    commands = [("check", dev), ("check", tmp_path / "bad.csv"), ("score", tmp_path / "none.csv", dev)]
    codes = [dialsum(*command).returncode for command in commands] + [INTERRUPTED]
    page = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
    assert list(map(int, re.findall(r"^\| (\d+) \|", page, re.MULTILINE))) == codes


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(shell):
    assert "_DIALSUM_COMPLETE=complete" in dialsum("completion", shell).stdout


def test_the_script_of_bash_completes_commands():
    done = dialsum(_DIALSUM_COMPLETE="complete_bash", COMP_WORDS="dialsum do", COMP_CWORD="1")
    assert done.stdout.split() == ["doctor"]
