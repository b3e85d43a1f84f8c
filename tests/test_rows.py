"""The rows of a run: what training and dev share is refused, left out when asked, or warned about."""

import csv

import pytest

from dialsum_trl.arguments import DataArguments
from dialsum_trl.errors import InputError
from dialsum_trl.rows import read_rows

TURNS = "#Person1#: 내일 오후 세 시에 도서관 앞에서 만납시다.\n#Person2#: 좋아요, 과제 자료를 모두 챙겨서 나갈게요."


def write(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("fname", "dialogue", "summary"), *rows])
    return str(path)


def files(tmp_path, train, dev):
    return dict(train_file=write(tmp_path / "train.csv", train), eval_file=write(tmp_path / "dev.csv", dev))


def test_shared_rows_are_an_error_that_names_the_flag(tmp_path):
    paths = files(tmp_path, [("t0", TURNS, "약속"), ("t1", "#Person1#: 안녕", "인사")], [("d0", TURNS, "약속")])
    with pytest.raises(InputError, match=r"1 training rows are also evaluation rows .*--drop_shared_rows true"):
        read_rows(DataArguments(**paths))


def test_shared_rows_are_left_out_and_counted_when_asked(tmp_path, capsys):
    paths = files(tmp_path, [("t0", TURNS, "약속"), ("t1", "#Person1#: 안녕", "인사")], [("d0", TURNS, "약속")])
    train, dev = read_rows(DataArguments(**paths, drop_shared_rows=True))
    assert train["fname"][:] == ["t1"] and len(dev) == 1
    assert "1 training rows that are dev rows too were left out, 1 remain" in capsys.readouterr().out


def test_nothing_left_to_train_on_is_an_error(tmp_path):
    paths = files(tmp_path, [("t0", TURNS, "약속")], [("d0", TURNS, "약속")])
    with pytest.raises(InputError, match="every training row is a dev row too"):
        read_rows(DataArguments(**paths, drop_shared_rows=True))


def test_near_copies_are_warned_about(tmp_path, capsys):
    longer = TURNS + "\n#Person1#: 고마워요."
    read_rows(DataArguments(**files(tmp_path, [("t0", longer, "감사")], [("d0", TURNS, "약속")])))
    assert "contamination: 1 training rows are near copies" in capsys.readouterr().out


def test_disjoint_rows_print_nothing(tmp_path, capsys):
    read_rows(DataArguments(**files(tmp_path, [("t0", "#Person1#: 안녕", "인사")], [("d0", TURNS, "약속")])))
    assert capsys.readouterr().out == ""
