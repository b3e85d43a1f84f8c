"""Rows in: what is read. What is wrong with a file, and the line that says so: tests/bad_inputs/tables.py."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import iter_rows, read_dialogues
from dialsum_trl.data.tables import read_table
from tests.row_files import DIALOGUE, SUMMARY, fuzz, message, row, text, write_csv

near_csv = st.text(st.sampled_from('fname,dialogue,summary\n\r"a{}[]:;\t\ufeff\0 '), max_size=60).map(str.encode)


# What is read


def test_quoted_cells_with_line_breaks_and_quotes_are_one_cell(tmp_path):
    path = write_csv(tmp_path / "train.csv", [("train_0", DIALOGUE, SUMMARY, "인사"), ("train_1", DIALOGUE, "끝", "")])
    rows = read_dialogues(path)
    assert rows.column_names == ["fname", "dialogue", "summaries", "topic"]
    assert rows[0] == row("train_0", topic="인사")
    assert rows[1] == row("train_1", summaries=["끝"])


def test_byte_order_mark_and_crlf_are_accepted(tmp_path):
    windows = DIALOGUE.replace("\n", "\r\n")
    path = write_csv(tmp_path / "a.csv", [("a", windows, SUMMARY, "t")], encoding="utf-8-sig", lineterminator="\r\n")
    assert path.read_bytes().startswith(b"\xef\xbb\xbffname")
    assert read_dialogues(path)[0] == row("a", topic="t")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_second_byte_order_mark_is_accepted_too(tmp_path, name):
    content = {"a.csv": '"fname",dialogue,summary\na,#Person1#: 네,b\n',
               "a.jsonl": '{"fname": "a", "dialogue": "#Person1#: 네", "summary": "b"}\n'}[name]  # fmt: skip
    path = tmp_path / name
    path.write_text("\ufeff\ufeff" + content, encoding="utf-8")
    assert read_dialogues(path)[0] == row("a", "#Person1#: 네", ["b"])


def test_an_unnamed_index_column_and_blank_lines_are_ignored(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",fname,dialogue,summary\n0,a,#Person1#: 네,긍정\n\n1,b,#Person1#: 아니요,부정\n", encoding="utf-8")
    assert [r["fname"] for r in read_dialogues(path)] == ["a", "b"]


def test_jsonl_and_csv_give_the_same_rows(tmp_path):
    values = [("a", DIALOGUE, SUMMARY, "t"), ("b", DIALOGUE + "!", SUMMARY, "t")]
    table = read_dialogues(write_csv(tmp_path / "a.csv", values))
    lines = [json.dumps(dict(zip(("fname", "dialogue", "summary", "topic"), v, strict=True))) for v in values]
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + "\n\n".join(lines) + "\n", encoding="utf-8")
    assert read_dialogues(path).to_list() == table.to_list()


def test_three_references_are_read_in_order_and_left_untouched(tmp_path):
    header = ("fname", "dialogue", "summary1", "summary2", "summary3")
    path = write_csv(tmp_path / "t.csv", [("t", DIALOGUE, " 하나\\n", "둘  <br>", "셋")], header)
    assert read_dialogues(path)[0]["summaries"] == [" 하나\\n", "둘  <br>", "셋"]


def test_files_without_summaries_are_read_when_none_is_required(tmp_path):
    path = write_csv(tmp_path / "test.csv", [("t", DIALOGUE)], ("fname", "dialogue"))
    assert read_dialogues(path, require_summary=False)[0] == row("t", summaries=[])


def test_columns_are_renamed_and_a_numbered_reference_can_be_chosen(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("a", DIALOGUE, "x", "y")], ("no", "text", "summary1", "summary2"))
    columns = {"fname": "no", "dialogue": "text", "summary": "summary2", "topic": "topic"}
    assert read_dialogues(path, columns=columns)[0] == row("a", summaries=["y"])


def test_id_serves_as_fname_as_in_the_hub_copies(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("a", DIALOGUE, "x")], ("id", "dialogue", "summary"))
    assert read_dialogues(path)[0]["fname"] == "a"


def test_iter_rows_streams(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("a", DIALOGUE, "x"), ("a", DIALOGUE, "x")], ("fname", "dialogue", "summary"))
    rows = iter_rows(path)
    assert next(rows)["fname"] == "a"  # the second, faulty row has not been looked at
    with pytest.raises(InputError):
        next(rows)


def test_whole_numbers_are_names_of_rows_as_pandas_writes_them(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"fname": 7, "dialogue": "#Person1#: a", "summary": "b"}\n', encoding="utf-8")
    assert read_dialogues(path)["fname"][:] == ["7"]


# What is wrong


def test_a_renamed_column_that_is_absent_is_an_error(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("a", DIALOGUE, SUMMARY, "t")])
    assert "'sumary'" in message(read_dialogues, path, columns={"summary": "sumary"})
    assert "--topic_column" in message(read_dialogues, path, columns={"topic": "zzz"})
    assert "roles are" in message(read_dialogues, path, columns={"title": "topic"})


def test_long_cells_are_read(tmp_path):
    long = "#Person1#: " + "가" * 1_000_000
    assert len(next(iter_rows(write_csv(tmp_path / "a.csv", [("a", long, "x", "")])))["dialogue"]) == len(long)


def test_a_hub_dataset_offline_is_one_line():
    text = message(read_dialogues, "hub:knkarthick/dialogsum:validation")
    assert "hub:knkarthick/dialogsum:validation" in text and ".csv or .jsonl" in text
    assert "names no dataset" in message(read_dialogues, "hub:")


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A dataset as the Hub has them, in a folder: two configurations, one of them with two splits."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "dataset"
    folder.mkdir()
    splits = [{"split": split, "path": f"ko_{split}.csv"} for split in ("train", "dev")]
    configs = [{"config_name": "ko", "data_files": splits}, {"config_name": "en", "data_files": "en.csv"}]
    (folder / "README.md").write_text(f"---\n{json.dumps({'configs': configs})}\n---\n")
    for name in ("ko_train", "ko_dev", "en"):
        write_csv(folder / f"{name}.csv", [(f"{name}_1", DIALOGUE, SUMMARY)])
    return f"hub:{folder}"


def test_a_configuration_and_a_split_of_a_dataset_are_read(dataset):
    for place, name in ((":ko:dev", "ko_dev_1"), (":ko:", "ko_train_1"), (":en:train", "en_1")):
        assert list(iter_rows(dataset + place)) == [row(name)]


def test_a_configuration_or_a_split_that_a_dataset_lacks_is_one_line_with_those_it_has(dataset):
    assert "has several configurations, ['ko', 'en']: name one" in message(iter_rows, dataset)
    assert "['ko', 'en']" in message(iter_rows, f"{dataset}:fr:dev")
    assert "['train', 'dev']" in message(iter_rows, f"{dataset}:ko:test")


@fuzz
@given(st.lists(st.tuples(text, text), max_size=5))
def test_what_the_csv_module_writes_is_read_back(tmp_path, cells):
    path = write_csv(tmp_path / "a.csv", [(str(i), *pair) for i, pair in enumerate(cells)], ("i", "left", "right"))
    if not cells:
        assert "no data rows" in message(read_table, path)
    else:
        assert [(r.values["left"], r.values["right"]) for r in read_table(path)] == cells


@fuzz
@given(st.one_of(st.binary(max_size=80), near_csv))
def test_any_bytes_give_rows_or_one_line(tmp_path, content):
    for name, header in (("a.csv", b"fname,dialogue,summary\n"), ("a.jsonl", b"")):
        path = tmp_path / name
        path.write_bytes(header + content)
        try:
            rows = list(iter_rows(path))
        except InputError as error:
            assert name in str(error) and "\n" not in str(error)
        else:
            assert all(r["fname"] and r["dialogue"] and r["summaries"] for r in rows)
