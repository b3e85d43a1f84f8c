"""The `dialsum` command: instant help, one line for every error, exit codes that scripts can use."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from dialsum_trl.cli import app as cli
from tests.conftest import ROOT
from tests.hub_server import HubServer
from tests.row_files import DEV, TEST, read_rows, write_csv

COMMANDS = ("doctor", "check", "preview", "summarize", "chat", "score", "merge", "push")


def dialsum(monkeypatch, capsys, *argv):
    """Exit code, stdout and stderr of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["dialsum", *map(str, argv)])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    captured = capsys.readouterr()
    return exit.value.code or 0, captured.out, captured.err


def test_the_command_is_installed():
    [entry] = entry_points(group="console_scripts", name="dialsum")
    assert entry.value == "dialsum_trl.cli.app:main"


def test_help_lists_every_command_in_80_columns(monkeypatch, capsys):
    code, output, _ = dialsum(monkeypatch, capsys, "--help")
    assert code == 0
    assert all(f"\n  {command} " in output for command in COMMANDS)
    assert "..." not in output.split("Commands:")[1]
    assert all(len(line) <= 80 for line in output.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(monkeypatch, capsys, command):
    code, output, _ = dialsum(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert output.startswith(f"Usage: dialsum {command}")


def test_an_input_error_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path):
    code, output, error = dialsum(monkeypatch, capsys, "push", tmp_path)
    assert (code, output) == (2, "")
    assert error.startswith("error: ") and error.count("\n") == 1


def test_an_unknown_flag_is_exit_code_2(monkeypatch, capsys):
    code, _, error = dialsum(monkeypatch, capsys, "check", "--tokeniser", "x", "train.csv")
    assert code == 2
    assert "--tokenizer" in error


def test_check_exits_with_1_when_training_would_refuse(monkeypatch, capsys, tmp_path):
    bad = tmp_path / "train.csv"
    bad.write_text("fname,dialogue,summary\na,,요약\n", encoding="utf-8")
    assert dialsum(monkeypatch, capsys, "check", bad)[0] == 1
    assert dialsum(monkeypatch, capsys, "check", DEV)[0] == 0


def predictions(path, text=None):
    """A prediction file for the sample's dev rows, in reverse: the references, or one text."""
    rows = [(row["fname"], text or row["summary"]) for row in reversed(read_rows(DEV))]
    return write_csv(path, rows, ("fname", "summary"))


def test_score_pairs_rows_by_fname_and_shows_every_configuration(monkeypatch, capsys, tmp_path):
    file = predictions(tmp_path / "perfect.csv")
    code, output, _ = dialsum(monkeypatch, capsys, "score", file, DEV, "--bootstrap", 50)
    assert code == 0
    lines = [line.split() for line in output.splitlines()]
    scores = {(line[0], line[1]): line[2:6] for line in lines if line[0] in ("mecab", "whitespace", "char")}
    assert set(scores) == {
        ("mecab", "split"),
        ("mecab", "atomic"),
        ("whitespace", "split"),
        ("char", "split"),
        ("char", "atomic"),
    }
    assert all(figures == ["100.00"] * 4 for figures in scores.values())


def test_score_says_when_a_constant_line_is_as_good(monkeypatch, capsys, tmp_path):
    file = predictions(tmp_path / "constant.csv", "네.")
    _, output, _ = dialsum(monkeypatch, capsys, "score", file, DEV, "--bootstrap", 50)
    assert "no better than one constant line" in output


def test_score_with_three_references_shows_mean_and_max(monkeypatch, capsys, tmp_path):
    rows = [(row["fname"], row["summary2"]) for row in read_rows(TEST)]
    file = write_csv(tmp_path / "predictions.csv", rows, ("fname", "summary"))
    _, output, _ = dialsum(monkeypatch, capsys, "score", file, TEST, "--bootstrap", 50)
    figures = {tuple(line.split()[:3]): line.split()[6] for line in output.splitlines() if line.startswith("mecab")}
    assert figures["mecab", "split", "max"] == "100.00"
    assert float(figures["mecab", "split", "mean"]) < 100


def test_score_takes_other_column_names_as_its_errors_say(monkeypatch, capsys, tmp_path):
    file, renamed = predictions(tmp_path / "perfect.csv"), tmp_path / "dev.csv"
    text = (DEV).read_text(encoding="utf-8")
    renamed.write_text(text.replace("fname,dialogue,summary", "fname,dialogue,gold", 1), encoding="utf-8")
    code, _, error = dialsum(monkeypatch, capsys, "score", file, renamed)
    assert code == 2 and "--summary_column" in error
    code, output, _ = dialsum(monkeypatch, capsys, "score", file, renamed, "--summary_column", "gold")
    assert code == 0 and "100.00" in output


@pytest.mark.parametrize("command", [["preview", "--recipe"], ["doctor"]])
def test_what_reads_the_rows_of_a_recipe_takes_other_column_names_too(monkeypatch, capsys, tmp_path, command):
    renamed = tmp_path / "train.csv"
    text = (DEV).read_text(encoding="utf-8")
    renamed.write_text(text.replace("fname,dialogue,summary", "fname,dialogue,gold", 1), encoding="utf-8")
    recipe = [ROOT / "recipes" / "sft_llama3b.py", "--config", ROOT / "recipes" / "demo.yaml", "--train_file", renamed]
    code, output, error = dialsum(monkeypatch, capsys, *command, *recipe)
    assert code and "--summary_column" in output + error
    _, output, error = dialsum(monkeypatch, capsys, *command, *recipe, "--summary_column", "gold")
    assert "--summary_column" not in output + error and ("64 rows of" in output or "row dev_0" in output)


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["score", "a.csv", "b.csv", "--bootstrap", "-3"], "--bootstrap -3: must be at least 0"),
        (["merge", "a", "b", "--rows", "0"], "--rows 0: must be at least 1"),
        (["check", "a.csv", "--max_length", "0"], "--max_length 0: must be at least 1"),
    ],
)
def test_a_count_that_is_none_is_one_line(monkeypatch, capsys, argv, match):
    code, output, error = dialsum(monkeypatch, capsys, *argv)
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert match in error


def test_push_from_the_shell_sends_the_adapter_and_shows_no_token(trained_adapter, tmp_path):
    with HubServer() as server:
        environment = server.environment(tmp_path)
        command = [sys.executable, "-c", "from dialsum_trl.cli.app import main; main()", "push", str(trained_adapter)]
        run = subprocess.run(
            [*command, "tester/from-shell", "--base", "acme/toy"], env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert f"pushed 8 files to {server.url}/tester/from-shell (private)" in run.stdout
        assert "adapter_model.safetensors" in server.repos["tester/from-shell"].files
        assert server.token not in run.stdout + run.stderr
