"""Every reader: rows written in a format, an encoding or a corpus's layout are the rows that are read."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_trl.data.dialogues import iter_rows
from dialsum_trl.data.formats.delimited import DELIMITERS
from dialsum_trl.data.formats.json_rows import HOLDERS
from dialsum_trl.data.formats.kakao import kakao_dialogue
from dialsum_trl.data.writing import write_rows
from tests.row_files import fuzz, row

words = st.text("가나다라마바사아자차카타파하abcXYZ019.,;|?!~'\"(){}[]", min_size=1, max_size=8)
line = st.lists(words, min_size=1, max_size=5).map(" ".join)
names = st.sampled_from(["민수", "지은 씨", "SD2000001", "P01", "#Person1#", "Kim"])
turns = st.lists(st.tuples(names, line), min_size=2, max_size=5)
dialogues = st.lists(st.tuples(turns, line), min_size=1, max_size=4)


def text_of(spoken):
    return "\n".join(f"{name}: {said}" for name, said in spoken)


def asked(spoken):
    return f"다음 대화를 요약해 주세요.\n\n{text_of(spoken)}"


def keyed(spoken, name, said):
    return [{name: who, said: what} for who, what in spoken]


LAYOUTS = {
    "NIKL": lambda key, spoken, summary: {
        "id": key,
        "input": {"conversation": keyed(spoken, "speaker", "utterance"), "subject_keyword": ["주", "제"]},
        "output": summary,
    },
    "AI Hub": lambda key, spoken, summary: {
        "header": {"dialogueInfo": {"dialogueID": key, "topic": "주, 제"}},
        "body": {"dialogue": keyed(spoken, "participantID", "utterance"), "summary": summary},
    },
    "NIKL corpus": lambda key, spoken, summary: {
        "id": key,
        "metadata": {"topic": "주, 제"},
        "utterance": keyed(spoken, "speaker_id", "form"),
        "summary": summary,
    },
    "turns": lambda key, spoken, summary: {
        "fname": key, "dialogue": keyed(spoken, "speaker", "text"), "summary": summary, "topic": "주, 제"
    },
    "lines": lambda key, spoken, summary: {
        "fname": key, "dialogue": text_of(spoken).split("\n"), "summary": [summary], "topic": ["주", "제"]
    },
    "messages": lambda key, spoken, summary: {
        "id": key, "topic": "주, 제", "messages": [
            {"role": "system", "content": "요약한다."},
            {"role": "user", "content": asked(spoken)},
            {"role": "assistant", "content": summary},
        ],
    },
    "ShareGPT": lambda key, spoken, summary: {
        "id": key, "topic": "주, 제",
        "conversations": [{"from": "human", "value": asked(spoken)}, {"from": "gpt", "value": summary}],
    },
    "TRL": lambda key, spoken, summary: {
        "id": key, "topic": "주, 제", "prompt": asked(spoken), "completion": summary
    },
    "Alpaca": lambda key, spoken, summary: {
        "id": key, "topic": "주, 제", "instruction": "요약하세요.", "input": text_of(spoken), "output": summary
    },
}  # fmt: skip


def rows_of(pairs):
    return [row(f"r{number}", text_of(spoken), [summary], "주, 제") for number, (spoken, summary) in enumerate(pairs)]


@pytest.mark.parametrize("layout", LAYOUTS)
@fuzz
@given(dialogues, st.sampled_from([".json", ".jsonl", ".parquet"]))
def test_a_corpus_in_its_layout_is_its_rows(tmp_path, layout, pairs, suffix):
    made = [LAYOUTS[layout](f"r{number}", *pair) for number, pair in enumerate(pairs)]
    write_rows(tmp_path / f"a{suffix}", list(made[0]), made)
    assert list(iter_rows(tmp_path / f"a{suffix}")) == rows_of(pairs)


@fuzz
@given(dialogues, st.sampled_from(HOLDERS))
def test_an_array_in_an_object_is_its_rows(tmp_path, pairs, holder):
    made = [LAYOUTS["NIKL"](f"r{number}", *pair) for number, pair in enumerate(pairs)]
    content = {"id": "x", "metadata": {"data": "y"}, holder: made, "after": [1]}
    (tmp_path / "a.json").write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    assert list(iter_rows(tmp_path / "a.json")) == rows_of(pairs)


@fuzz
@given(dialogues, st.sampled_from(DELIMITERS), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp949"]))
def test_a_text_file_is_its_rows_whatever_separates_and_encodes_it(tmp_path, pairs, delimiter, encoding):
    expected = rows_of(pairs)
    with (tmp_path / "a.csv").open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["번호", "대화", "요약", "주제"])
        writer.writerows([each["fname"], each["dialogue"], *each["summaries"], each["topic"]] for each in expected)
    assert list(iter_rows(tmp_path / "a.csv")) == expected


KAKAO = {
    "Windows": "[{name}] [오후 2:01] {said}",
    "Windows in English": "[{name}] [2:01 PM] {said}",
    "Android": "2024년 3월 11일 오후 2:01, {name} : {said}",
    "Android in English": "March 11, 2024 2:01 PM, {name} : {said}",
    "iOS": "2024. 3. 11. 오후 2:01, {name} : {said}",
    "iOS in English": "Mar 11, 2024 at 14:01, {name} : {said}",
}


@pytest.mark.parametrize("form", KAKAO)
@fuzz
@given(turns)
def test_an_export_of_kakaotalk_is_its_turns(form, spoken):
    export = "\n".join(KAKAO[form].format(name=name, said=said) for name, said in spoken)
    assert kakao_dialogue(export) == text_of(spoken)
