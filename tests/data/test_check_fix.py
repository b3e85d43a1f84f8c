"""`dialsum check --fix`: the cleaned copy holds what training takes, can be read again, and replaces nothing."""

import os

import pytest

from dialsum_trl.cli.check import check_files
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import read_dialogues
from tests.checked_files import GOOD, checked, has
from tests.row_files import read_csv, write_csv, write_jsonl


def test_columns_of_other_names_are_given_and_kept_by_fix(tmp_path, capsys):
    train = write_csv(
        tmp_path / "train.csv", [("a", GOOD.replace("\n", "\\n"), "요약")], header=("key", "text", "target")
    )
    columns = {"fname": "key", "dialogue": "text", "summary": "target"}
    ready, lines = checked(capsys, train, columns=columns, fix=tmp_path / "fixed.csv")
    assert ready
    assert has(lines, "note", r"literal \n")
    assert read_dialogues(tmp_path / "fixed.csv", columns=columns)["dialogue"][:] == [GOOD]
    assert read_csv(tmp_path / "fixed.csv")[0] == ["key", "text", "target"]


@pytest.mark.parametrize("name", ["fixed.csv", "fixed.jsonl"])
def test_fix_writes_what_training_reads_and_leaves_the_original(tmp_path, capsys, name):
    rows = [
        ("a", GOOD.replace("\n", "\\n"), "요약  그대로"),
        ("b", "", "요약"),
        ("a", GOOD, "요약"),
        ("c", "다른 " + GOOD, "요약"),
    ]
    train = write_csv(tmp_path / "train.csv", rows)
    dev = write_csv(tmp_path / "dev.csv", [("dev_0", "다른 " + GOOD, "다른 요약")])
    before = train.read_bytes()
    checked(capsys, train, dev, fix=tmp_path / name)
    assert train.read_bytes() == before
    fixed = read_dialogues(tmp_path / name)
    assert (fixed["fname"][:], fixed["dialogue"][:]) == (["a"], [GOOD])
    assert fixed["summaries"][0] == ["요약  그대로"]
    ready, lines = checked(capsys, tmp_path / name)
    assert ready
    assert not has(lines, "note", "cleaned on reading")


def test_fix_writes_nothing_when_no_row_is_left(tmp_path, capsys):
    rows = [("a", GOOD, "요약"), ("b", GOOD + " 네.", "요약")]
    train, dev = (write_csv(tmp_path / name, rows) for name in ("train.csv", "dev.csv"))
    _, lines = checked(capsys, train, dev, fix=tmp_path / "fixed.csv")
    assert f"{tmp_path / 'fixed.csv'}: not written, for no row of {train} can be kept: see the errors above" in lines
    assert not (tmp_path / "fixed.csv").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fixed.pdf", "ends with .csv, .tsv, .json, .jsonl, .parquet or .xlsx"),
        ("train.csv/fixed.csv", "train.csv is no folder"),
        ("locked/fixed.csv", "locked cannot be written"),
    ],
)
def test_a_place_where_no_copy_can_come_is_named_before_anything_is_read(tmp_path, monkeypatch, capsys, name, message):
    train = write_csv(tmp_path / "train.csv", [("a", GOOD, "요약")])
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: "locked" not in str(path))  # root may write anywhere
    with pytest.raises(InputError, match=message):
        check_files([train], fix=tmp_path / name)
    assert capsys.readouterr().out == ""


def test_fix_never_overwrites(tmp_path):
    train = write_csv(tmp_path / "train.csv", [("a", GOOD, "요약")])
    with pytest.raises(InputError, match="nothing is overwritten"):
        check_files([train], fix=train)


@pytest.mark.parametrize("name", ["fixed.csv", "fixed.jsonl"])
def test_fix_keeps_lone_carriage_returns_of_summaries(tmp_path, capsys, name):
    train = write_csv(tmp_path / "train.csv", [("a", GOOD, "앞줄\r뒷줄"), ("b", GOOD + " 네.", "약속\r한다\r\n")])
    assert checked(capsys, train, fix=tmp_path / name)[0]
    assert read_dialogues(tmp_path / name)["summaries"][:] == [["앞줄\r뒷줄"], ["약속\r한다\r\n"]]


def test_fix_writes_every_key_that_a_row_of_a_jsonl_has(tmp_path, capsys):
    rows = [
        {"fname": "a", "dialogue": GOOD, "summary": "요약"},
        {"fname": "b", "dialogue": GOOD + " 네.", "summary": "묻는다", "tags": ["회의", 2], "note": None, "by": "나"},
    ]
    assert checked(capsys, write_jsonl(tmp_path / "train.jsonl", rows), fix=tmp_path / "fixed.csv")[0]
    header, first, second = read_csv(tmp_path / "fixed.csv")
    assert header == ["fname", "dialogue", "summary", "tags", "note", "by"]
    assert first[3:] == ["", "", ""]
    assert second[3:] == ['["회의", 2]', "", "나"]


@pytest.mark.parametrize("broken", ["가\0", "가\ud800"])
def test_text_that_no_file_can_hold_is_an_error_as_training_says(tmp_path, capsys, broken):
    rows = [{"fname": "a", "dialogue": GOOD, "summary": broken}, {"fname": "b", "dialogue": "네", "summary": "요약"}]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    ready, lines = checked(capsys, path, fix=tmp_path / "fixed.csv")
    assert not ready
    assert has(lines, "error", "rows whose summary holds a NUL or half a surrogate pair: 1 (a)")
    assert read_dialogues(tmp_path / "fixed.csv")["fname"][:] == ["b"]


def test_a_further_column_that_no_file_can_hold_is_one_line_of_fix(tmp_path):
    rows = [{"fname": "a", "dialogue": GOOD, "summary": "요약", "note": "\ud800"}]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    with pytest.raises(InputError, match="not written, a row holds a NUL or half a surrogate pair"):
        check_files([path], fix=tmp_path / "fixed.csv")
