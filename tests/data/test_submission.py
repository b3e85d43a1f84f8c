"""Submission files: the template's order and columns, every id accounted for, never half-written."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.submission import (
    check_output,
    check_template,
    in_nikl_layout,
    read_aligned,
    read_predictions,
    write_submission,
)
from dialsum_trl.data.tables import read_table
from dialsum_trl.data.writing import write_rows
from tests.row_files import read_csv

IDS = ["test_0", "test_1", "test_10", "test_2"]
TEXTS = ["하나", "둘,\n둘째 줄", '"셋"', ""]


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "sample.csv"
    path.write_text("fname,summary\n" + "".join(f"{name},요약\n" for name in IDS), encoding="utf-8")
    return path


@pytest.fixture
def indexed(tmp_path):
    path = tmp_path / "indexed.csv"
    path.write_text(",fname,summary\n" + "".join(f"{i},{name},\n" for i, name in enumerate(IDS)), encoding="utf-8-sig")
    return path


def test_without_a_template_rows_come_in_the_order_given(tmp_path):
    write_submission(tmp_path / "s.csv", IDS, TEXTS)
    assert (tmp_path / "s.csv").read_text(encoding="utf-8").startswith("fname,summary\ntest_0,하나\n")
    assert read_predictions(tmp_path / "s.csv") == dict(zip(IDS, TEXTS, strict=True))


def test_the_template_gives_the_order_whatever_the_order_of_the_rows(tmp_path, template):
    write_submission(tmp_path / "s.csv", IDS[::-1], TEXTS[::-1], template)
    assert list(read_predictions(tmp_path / "s.csv").items()) == list(zip(IDS, TEXTS, strict=True))


def test_an_index_column_of_the_template_is_kept(tmp_path, indexed):
    write_submission(tmp_path / "s.csv", IDS, TEXTS, indexed)
    rows = read_csv(tmp_path / "s.csv")
    assert rows[0] == ["", "fname", "summary"]
    assert rows[3] == ["2", "test_10", '"셋"']


def test_empty_columns_of_the_template_are_kept(tmp_path):
    template = tmp_path / "t.csv"
    template.write_text(",fname,summary,,\n0,a,,,\n1,b,,x,y\n", encoding="utf-8")
    for _ in range(2):  # the second time over the first
        check_output(tmp_path / "s.csv", "--output_file", [], template)
        write_submission(tmp_path / "s.csv", ["b", "a"], ["둘", "하나"], template)
    assert (tmp_path / "s.csv").read_text(encoding="utf-8") == ",fname,summary,,\n0,a,하나,,\n1,b,둘,x,y\n"


def test_a_row_of_the_template_without_an_id_is_named(tmp_path):
    template = tmp_path / "t.csv"
    template.write_text("fname,summary\na,\n,\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"t.csv: row 2 \(line 3\), column 'fname': empty; fill it or remove the row"):
        write_submission(tmp_path / "s.csv", ["a"], ["x"], template)


def test_missing_and_extra_ids_are_named_and_nothing_is_written(tmp_path, template):
    with pytest.raises(InputError, match=r"sample.csv: 1 ids are missing: test_2; 1 ids are not known there: test_9"):
        write_submission(tmp_path / "s.csv", [*IDS[:3], "test_9"], TEXTS, template)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sample.csv"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_submission(tmp_path / "s.csv", IDS, TEXTS)
    before = (tmp_path / "s.csv").read_bytes()
    with pytest.raises(InputError, match="half a surrogate pair"):
        write_submission(tmp_path / "s.csv", IDS, ["a", "b", "c", "\ud800"])
    assert (tmp_path / "s.csv").read_bytes() == before


def test_predictions_are_aligned_with_rows_by_id(tmp_path):
    write_submission(tmp_path / "s.csv", IDS, TEXTS)
    assert read_aligned(tmp_path / "s.csv", IDS[::-1]) == TEXTS[::-1]
    with pytest.raises(InputError, match="1 ids are missing: dev_1; 1 ids are not known there: test_2"):
        read_aligned(tmp_path / "s.csv", [*IDS[:3], "dev_1"])


def test_repeated_ids_and_differing_lengths_are_errors(tmp_path):
    with pytest.raises(InputError, match="ids appear twice: a"):
        write_submission(tmp_path / "s.csv", ["a", "a"], ["x", "y"])
    with pytest.raises(InputError, match="1 summaries for 2 ids"):
        write_submission(tmp_path / "s.csv", ["a", "b"], ["x"])
    with pytest.raises(InputError, match="is a folder"):
        write_submission(tmp_path, ["a"], ["x"])


def test_empty_summaries_are_counted(tmp_path, capsys):
    write_submission(tmp_path / "s.csv", IDS, TEXTS)
    assert "1 of 4 summaries are empty" in capsys.readouterr().out


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), min_size=1))
def test_whatever_is_written_is_read_back(tmp_path, texts):
    names = [f"test_{i}" for i in range(len(texts))]
    write_submission(tmp_path / "s.csv", names, texts)
    assert read_predictions(tmp_path / "s.csv") == dict(zip(names, texts, strict=True))


def test_whole_numbers_are_ids_of_predictions_as_pandas_writes_them(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"fname": 7, "summary": "하나"}\n', encoding="utf-8")
    assert read_predictions(path) == {"7": "하나"}


def test_a_nul_byte_is_left_out_and_counted_so_that_the_file_can_be_read(tmp_path, capsys):
    write_submission(tmp_path / "s.csv", ["a", "b"], ["가\0나", "다"])
    assert read_predictions(tmp_path / "s.csv") == {"a": "가나", "b": "다"}
    assert "1 of 2 summaries held a NUL byte" in capsys.readouterr().out


def nikl_rows(path, *names, output=None):
    rows = [
        {"id": name, "input": {"conversation": [{"speaker": "SD1", "utterance": "네"}], "subject_keyword": ["말"]}}
        for name in names
    ]
    path.write_text(json.dumps([{**row, **({} if output is None else {"output": output})} for row in rows], indent=4))
    return path


def test_a_template_in_nikls_layout_differs_afterwards_in_its_output_alone(tmp_path):
    template = nikl_rows(tmp_path / "test.json", "a", "b", output="")
    assert in_nikl_layout(template) and not in_nikl_layout(tmp_path / "test.csv")
    write_submission(tmp_path / "submission.csv", ["b", "a"], ["둘", "하나"], template)
    before, after = (json.loads(path.read_text("utf-8")) for path in (template, tmp_path / "submission.json"))
    assert [row.pop("output") for row in after] == ["하나", "둘"]
    assert after == [{name: value for name, value in row.items() if name != "output"} for row in before]
    assert read_predictions(tmp_path / "submission.json") == {"a": "하나", "b": "둘"}
    assert read_predictions(tmp_path / "submission.csv") == {"a": "하나", "b": "둘"}


@pytest.mark.parametrize("suffix", [".tsv", ".xlsx", ".jsonl"])
def test_a_template_of_another_format_and_other_columns_is_filled_in_its_own(tmp_path, suffix):
    rows = [{"번호": name, "비고": "x", "요약": ""} for name in ("a", "b")]
    write_rows(tmp_path / f"sample{suffix}", ["번호", "비고", "요약"], rows)
    write_submission(tmp_path / "s.csv", ["b", "a"], ["둘", "하나"], tmp_path / f"sample{suffix}")
    filled = [row.values for row in read_table(tmp_path / f"s{suffix}")]
    assert filled == [{"번호": "a", "비고": "x", "요약": "하나"}, {"번호": "b", "비고": "x", "요약": "둘"}]
    assert list(read_predictions(tmp_path / "s.csv")) == ["a", "b"]


def row_of(name, summary, **more):
    return json.dumps({"fname": name, "dialogue": "가: 네\u2028나: 예", "summary": summary}, ensure_ascii=False, **more)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("an object on one line.json", lambda a, b: f'{{"version": 1.10, "data": [{row_of(*a)},{row_of(*b)}]}}'),
        (
            "an indented object.json",
            lambda a, b: json.dumps(
                {"data": [json.loads(row_of(*a)), json.loads(row_of(*b))], "info": []}, indent=2, ensure_ascii=False
            ),
        ),
        ("rows on several lines.jsonl", lambda a, b: f"{row_of(*a, indent=4)}\n\n{row_of(*b, indent=4)}\n"),
        ("a row a line.jsonl", lambda a, b: f"{row_of(*a)}\n{row_of(*b)}\n"),
        ("a row a line.ndjson", lambda a, b: f"{row_of(*a)}\r\n{row_of(*b)}"),
    ],
)
def test_json_around_the_summaries_of_a_template_stays_as_it_is(tmp_path, name, text):
    template = tmp_path / name
    template.write_text(text(("a", ""), ("b", "")), encoding="utf-8")
    check_template(template, ["a", "b"])
    write_submission(tmp_path / "s.csv", ["b", "a"], ["둘", "하나"], template)
    filled = (tmp_path / f"s{template.suffix}").read_text(encoding="utf-8")
    assert filled == text(("a", "하나"), ("b", "둘")).replace("\r\n", "\n")
    assert read_predictions(tmp_path / f"s{template.suffix}") == {"a": "하나", "b": "둘"}
