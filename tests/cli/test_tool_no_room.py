"""The `dialsum` command on a full disk, or where it may not write: one line, early, and nothing of its own is left."""

import os
import subprocess
import sys

import pytest

from dialsum_trl.cli import app as cli
from dialsum_trl.cli import merge
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_text
from dialsum_trl.data.writing import check_new_file
from tests.conftest import ROOT, TINY

DIALSUM = [sys.executable, "-c", "from dialsum_trl.cli.app import main; main()"]


def check_line(run: subprocess.CompletedProcess, says: str) -> None:
    assert run.returncode == 1 and "Traceback" not in run.stderr, run.stderr[-2000:]
    [line] = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert says in line


def on_a_full_disk(kib: int, *argv) -> subprocess.CompletedProcess:
    """The command where no file may be larger."""
    shell = ["bash", "-c", 'ulimit -f "$0"; exec "$@"', str(kib), *DIALSUM, *map(str, argv)]
    return subprocess.run(shell, cwd=ROOT, capture_output=True, text=True)


def test_a_copy_that_does_not_fit_leaves_nothing(tmp_path):
    run = on_a_full_disk(1, "check", TINY / "data" / "train.csv", "--fix", tmp_path / "fixed.csv")
    check_line(run, "a file could not be written (File too large): free some space")
    assert list(tmp_path.iterdir()) == []


def test_a_merged_model_that_does_not_fit_leaves_nothing(trained_adapter, tmp_path):
    run = on_a_full_disk(100, "merge", trained_adapter, tmp_path / "model")
    check_line(run, "a file could not be written (")
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_merge_left_is_not_deleted(trained_adapter, tmp_path, monkeypatch):
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "kept.txt").write_text("kept", encoding="utf-8")
    monkeypatch.setattr(merge, "read_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        merge.merge_adapter(trained_adapter, tmp_path / "model")
    assert (tmp_path / "model.partial" / "kept.txt").exists()


def test_a_text_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.csv", "\ud800")
    assert list(tmp_path.iterdir()) == []


def test_merge_looks_at_its_place_first(trained_adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "write_merged", lambda *_: pytest.fail("merged first"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match=f"OUTPUT {tmp_path / 'new' / 'model'}: {tmp_path} cannot be written"):
        merge.merge_adapter(trained_adapter, tmp_path / "new" / "model")


def test_a_place_behind_a_locked_door_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0)
    fix, user, look = tmp_path / "locked" / "fixed.csv", os.geteuid(), check_new_file

    def look_as_nobody(path, flag):
        if user == 0:  # who may look anywhere
            os.seteuid(65534)
        try:
            look(path, flag)
        finally:
            os.seteuid(user)

    monkeypatch.setattr("dialsum_trl.cli.check.check_new_file", look_as_nobody)
    monkeypatch.setattr(sys, "argv", ["dialsum", "check", str(TINY / "data" / "dev.csv"), "--fix", str(fix)])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 1
    line = f"error: {fix}: Permission denied; give another folder, or get the right to use it\n"
    assert capsys.readouterr() == ("", line)
