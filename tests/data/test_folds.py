"""`preferences --write_folds`: two halves of the dialogues, so that an adapter samples on what it has not seen."""

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.stages.preferences import make_preferences
from tests import phase3_toys as toys


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    lines = [f"r{i},#Person1#: 방이 {i}개 있나요?,방이 {i}개 있다." for i in range(8)]
    path.write_text("\n".join(["fname,dialogue,summary", *lines]), encoding="utf-8")
    return path


def test_folds_split_the_rows_in_two(rows, tmp_path):
    make_preferences({}, toys.flags({"train_file": rows, "write_folds": tmp_path / "folds"}))
    folds = [read_dialogues(tmp_path / "folds" / f"fold{n}.csv") for n in range(2)]
    whole = read_dialogues(rows)
    assert sorted(folds[0]["fname"][:] + folds[1]["fname"][:]) == sorted(whole["fname"][:])
    assert len(folds[0]) == len(folds[1]) == 4


def test_rows_of_one_dialogue_fall_into_the_same_fold(tmp_path):
    lines = [f'r{n},"#Person1#: 안녕 {n % 4}",인사 {n}' for n in range(16)]
    (tmp_path / "rows.csv").write_text("\n".join(["fname,dialogue,summary", *lines]), encoding="utf-8")
    make_preferences({}, toys.flags({"train_file": tmp_path / "rows.csv", "write_folds": tmp_path / "folds"}))
    seen = [set(read_dialogues(tmp_path / "folds" / f"fold{n}.csv")["dialogue"]) for n in range(2)]
    assert [len(fold) for fold in seen] == [2, 2] and not seen[0] & seen[1]


def test_folds_keep_lone_carriage_returns_of_summaries(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_bytes('fname,dialogue,summary\na,#Person1#: 네.,"앞\r뒤"\nb,#Person1#: 응.,"위\r아래"\n'.encode())
    make_preferences({}, toys.flags({"train_file": rows, "write_folds": tmp_path / "folds"}))
    folds = [read_dialogues(tmp_path / "folds" / f"fold{n}.csv") for n in range(2)]
    assert sorted(fold["summaries"][0][0] for fold in folds) == ["앞\r뒤", "위\r아래"]


def test_one_dialogue_makes_no_folds(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("fname,dialogue,summary\na,#Person1#: 네.,긍정\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"--write_folds \S+: one dialogue makes no two folds"):
        make_preferences({}, toys.flags({"train_file": rows, "write_folds": tmp_path / "folds"}))
    assert not (tmp_path / "folds").exists()


def test_a_folder_where_a_fold_belongs_is_one_line_and_no_fold_is_written(rows, tmp_path):
    (tmp_path / "folds" / "fold1.csv").mkdir(parents=True)
    with pytest.raises(InputError, match=r"fold1.csv: is a folder"):
        make_preferences({}, toys.flags({"train_file": rows, "write_folds": tmp_path / "folds"}))
    assert [path.name for path in (tmp_path / "folds").iterdir()] == ["fold1.csv"]


def test_folds_of_other_rows_are_never_replaced(rows, tmp_path):
    settings = {"train_file": rows, "write_folds": tmp_path / "folds"}
    make_preferences({}, toys.flags(settings))
    before = (tmp_path / "folds" / "fold0.csv").read_bytes()
    make_preferences({}, toys.flags(settings))  # the same rows once more
    with pytest.raises(InputError, match=r"fold0.csv holds other rows.*give another folder"):
        make_preferences({}, toys.flags({**settings, "seed": 7}))
    assert (tmp_path / "folds" / "fold0.csv").read_bytes() == before
