"""Files of every format, encoding and layout: the same rows, found by content; what was chosen is printed."""

import json

import openpyxl
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_trl.cli.chat import read_dialogue
from dialsum_trl.cli.convert import convert_file
from dialsum_trl.data.dialogues import iter_rows, read_dialogues
from dialsum_trl.data.formats.kakao import kakao_dialogue
from dialsum_trl.data.layouts import without_instruction
from dialsum_trl.data.pairs import read_pairs
from dialsum_trl.data.splits import each_reference
from dialsum_trl.data.tables import read_table
from dialsum_trl.data.writing import WRITTEN, write_rows
from tests.checked_files import checked, has
from tests.row_files import DIALOGUE, SUMMARY, fuzz, message, read_rows, row, write_csv, write_jsonl

LINES = DIALOGUE.split("\n")
TURNS = [dict(zip(("speaker", "utterance"), line.split(": ", 1), strict=True)) for line in LINES]
ASK = "다음 대화를 요약해 주세요."
KAKAO_TURNS = "민수: 내일 몇 시에 볼까?\n지은: 세 시 어때? 역 앞에서"
cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


def write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


# Formats


@pytest.mark.parametrize("suffix", WRITTEN)
@fuzz
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=4))
def test_what_is_written_in_a_format_is_read_back(tmp_path, suffix, pairs):
    rows = [{"no": f"r{number}", "left": left, "right": right} for number, (left, right) in enumerate(pairs)]
    path = tmp_path / f"a{suffix}"
    assert write_rows(path, ["no", "left", "right"], rows) == len(rows)
    assert [each.values for each in read_table(path)] == rows
    if suffix != ".xlsx":  # by its content, whatever its name
        path.rename(tmp_path / "a.data")
        assert [each.values for each in read_table(tmp_path / "a.data")] == rows


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
def test_tabs_semicolons_and_bars_separate_as_commas_do(tmp_path, separator):
    path = write_csv(tmp_path / "a.csv", [("a", DIALOGUE, 'x; "y", z', "t")], delimiter=separator)
    assert read_dialogues(path)[0] == row("a", summaries=['x; "y", z'], topic="t")


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_line_by_which_excel_names_its_separator_is_followed(tmp_path, line):
    path = tmp_path / "a.csv"
    path.write_text(f"{line}\nfname;dialogue;summary\na;네;b\n", encoding="utf-8")
    assert read_dialogues(path)[0] == row("a", "네", ["b"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp949"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_korean_encodings_are_read_and_said_once(tmp_path, capsys, encoding, name):
    path = tmp_path / name
    if name == "a.csv":
        write_csv(path, [("a", DIALOGUE, SUMMARY, "")], encoding=encoding)
        assert read_dialogues(path)[0] == row("a")
    elif name == "a.jsonl":
        content = json.dumps({"fname": "a", "dialogue": DIALOGUE, "summary": SUMMARY}, ensure_ascii=False)
        path.write_bytes(content.encode(encoding))
        assert read_dialogues(path)[0] == row("a")
    else:
        path.write_bytes(DIALOGUE.encode(encoding))
        assert read_dialogue(path) == DIALOGUE
    said = capsys.readouterr().err
    assert said.count("read as") == (0 if encoding.startswith("utf-8") else 1)
    assert encoding.startswith("utf-8") or encoding[:6].upper() in said


def test_a_damaged_byte_after_korean_letters_is_no_other_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("fname,dialogue,summary\na,안녕,".encode() + b"\xb0\xa1\n")
    assert "line 2, byte 32 (0xb0) is not UTF-8" in message(read_table, path)


def test_a_damaged_byte_of_a_file_of_windows_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("fname,dialogue,summary\na,안녕,가\n".encode("cp949")[:-1] + b"\xff\n")
    assert "line 2, byte 32 (0xff) is not CP949" in message(read_table, path)


def test_rows_of_an_array_are_read_over_pieces_of_the_file(tmp_path):
    rows = [{"fname": f"r{n}", "dialogue": f"#Person1#: {'가' * 3000}", "summary": "나"} for n in range(900)]
    for indent in (None, 2):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=indent), encoding="utf-8")
        assert [each.values for each in read_table(path)] == rows
    last = list(read_table(path))[-1]
    assert json.loads("".join(path.read_text("utf-8").split("\n")[last.line - 1 : last.line + 4])) == rows[-1]


def test_an_error_far_into_an_array_names_its_row_and_line(tmp_path):
    path = tmp_path / "a.json"
    rows = ",\n".join('{"a": "' + "x" * 5000 + '"}' for _ in range(500))
    path.write_text(f'[{rows},\n{{"a": x}}]', encoding="utf-8")
    assert "row 501 (line 501) is not JSON: Expecting value at character 7" in message(read_table, path)


# Columns and ids


def test_likely_columns_are_taken_and_printed(tmp_path, capsys):
    path = write_csv(tmp_path / "a.csv", [("7", DIALOGUE, SUMMARY, "인사")], ("번호", "대화", "요약", "주제"))
    assert read_dialogues(path)[0] == row("7", topic="인사")
    said = capsys.readouterr().out
    assert "dialogue is column '대화' (another: --dialogue_column)" in said and "summary is column '요약'" in said


def test_a_given_column_goes_before_a_likely_one(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("a", DIALOGUE, "x", "y")], ("id", "대화", "요약", "다른 요약"))
    assert read_dialogues(path, columns={"summary": "다른 요약"})["summaries"][:] == [["y"]]


def test_rows_without_ids_are_named_by_their_number(tmp_path, capsys):
    path = write_csv(tmp_path / "a.csv", [(DIALOGUE, "x"), (DIALOGUE, "y")], ("dialogue", "summary"))
    assert read_dialogues(path)["fname"][:] == ["0", "1"]
    assert "rows are named by their number, from 0" in capsys.readouterr().out


def test_the_dialogues_column_is_not_that_of_ids(tmp_path):
    path = write_csv(tmp_path / "a.csv", [(DIALOGUE, "x")], ("dialogue", "summary"))
    text = message(read_dialogues, path, columns={"fname": "dialogue"})
    assert "--fname_column dialogue: 'dialogue' is the dialogue's own column; leave the flag out" in text


# Layouts


def nikl(output=True, **more):
    given = {"conversation": TURNS, "subject_keyword": ["인사", "날씨"]}
    return {"id": "nikluge-0", "input": given, **({"output": SUMMARY} if output else {}), **more}


LAYOUTS = {
    "NIKL": [nikl()],
    "AI Hub": {
        "numberOfItems": 1,
        "data": [
            {
                "header": {"dialogueInfo": {"dialogueID": "nikluge-0", "topic": "인사, 날씨"}},
                "body": {
                    "dialogue": [{"participantID": t["speaker"], "utterance": t["utterance"]} for t in TURNS],
                    "summary": SUMMARY,
                },
            }
        ],
    },
    "NIKL corpus": {
        "id": "SDRW",
        "metadata": {"title": "x"},
        "document": [
            {
                "id": "nikluge-0",
                "metadata": {"topic": "인사, 날씨"},
                "utterance": [{"form": t["utterance"], "speaker_id": t["speaker"]} for t in TURNS],
                "summary": SUMMARY,
            }
        ],
    },
    "": [{"id": "nikluge-0", "dialogue": TURNS, "summary": SUMMARY, "topic": ["인사", "날씨"]}],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_corpus_is_read_in_its_own_layout(tmp_path, layout, capsys):
    path = write_json(tmp_path / "a.json", LAYOUTS[layout])
    assert read_dialogues(path).to_list() == [row("nikluge-0", topic="인사, 날씨")]
    assert not layout or f"{layout} layout" in capsys.readouterr().out


@pytest.mark.parametrize(
    "values",
    [
        {"dialogue": LINES, "summary": SUMMARY},
        {"dialogue": [[t["speaker"], t["utterance"]] for t in TURNS], "summary": [SUMMARY]},
        {"messages": [{"role": "system", "content": "요약가"}, {"role": "user", "content": f"{ASK}\n\n{DIALOGUE}"},
                      {"role": "assistant", "content": SUMMARY}]},
        {"conversations": [{"from": "human", "value": f"{DIALOGUE}\n\n{ASK}"}, {"from": "gpt", "value": SUMMARY}]},
        {"messages": [{"role": t["speaker"], "content": t["utterance"]} for t in TURNS], "summary": SUMMARY},
        {"instruction": ASK, "input": DIALOGUE, "output": SUMMARY},
        {"instruction": f"{ASK}\n{DIALOGUE}", "input": "", "output": SUMMARY},
        {"prompt": f"{ASK}\n\n{DIALOGUE}", "completion": SUMMARY},
        {"prompt": [{"role": "user", "content": DIALOGUE}], "completion": [{"role": "assistant", "content": SUMMARY}]},
    ],
)  # fmt: skip
def test_formats_of_other_trainers_are_read_without_their_instruction(tmp_path, values):
    assert read_dialogues(write_jsonl(tmp_path / "a.jsonl", [values])).to_list() == [row("0")]


def test_a_text_without_speakers_keeps_all_its_lines():
    assert without_instruction("하나\n둘") == "하나\n둘"


def test_three_references_in_a_list_are_three(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"dialogue": DIALOGUE, "summary": ["하나", "둘", "셋"]}])
    assert read_dialogues(path)["summaries"][:] == [["하나", "둘", "셋"]]


def test_every_reference_becomes_a_training_row_or_the_first_alone(tmp_path, capsys):
    header = ("fname", "dialogue", "summary1", "summary2")
    rows = read_dialogues(write_csv(tmp_path / "a.csv", [("a", DIALOGUE, "x", "y"), ("b", "#P: z", "w", "")], header))
    assert each_reference(rows, "all").to_list() == [
        row("a", summaries=["x"]), row("a", summaries=["y"]), row("b", "#P: z", ["w"]),
    ]  # fmt: skip
    assert "3 references of 2 dialogues" in capsys.readouterr().out
    assert each_reference(rows, "first")["summaries"][:] == [["x"], ["w"]]
    assert has(checked(capsys, tmp_path / "a.csv")[1], "note", "references: 1 rows with 2, 1 rows with 1")


@pytest.mark.parametrize(
    "export",
    [
        "지은 님과 카카오톡 대화\n저장한 날짜 : 2024-03-11 22:14:03\n\n--------------- 2024년 3월 11일 월요일 "
        "---------------\n[민수] [오후 2:01] 내일 몇 시에 볼까?\n[지은] [오후 2:03] 세 시 어때?\n역 앞에서\n",
        "2024년 3월 11일 오후 2:00\n2024년 3월 11일 오후 2:01, 민수 : 내일 몇 시에 볼까?\n2024년 3월 11일 오후 2:02, "
        "수지님이 들어왔습니다.\n2024년 3월 11일 오후 2:03, 지은 : 세 시 어때?\n역 앞에서\n",
        "2024. 3. 11. 오후 2:01, 민수 : 내일 몇 시에 볼까?\n2024. 3. 11. 오후 2:03, 지은 : 세 시 어때?\n역 앞에서\n",
        "KakaoTalk Chats with 지은\nDate Saved : 2024-03-11 22:14:03\n\n--------------- Monday, March 11, 2024 "
        "---------------\n[민수] [2:01 PM] 내일 몇 시에 볼까?\n수지님이 민호님을 초대했습니다.\n"
        "Suji left this chatroom.\n[지은] [2:03 PM] 세 시 어때?\n역 앞에서\n"
        "--------------- Tuesday, March 12, 2024 ---------------\n",
        "KakaoTalk Chats with 지은\nDate Saved : Mar 11, 2024 10:14 PM\n\nMar 11, 2024 2:00 PM\n"
        "Mar 11, 2024 2:01 PM, 민수 : 내일 몇 시에 볼까?\nMar 11, 2024 2:02 PM, Suji joined this chatroom.\n"
        "Mar 11, 2024 2:03 PM, 지은 : 세 시 어때?\n역 앞에서\nMar 12, 2024 9:00 AM\n",
        "Monday, March 11, 2024\nMar 11, 2024 at 14:01, 민수 : 내일 몇 시에 볼까?\n"
        "Mar 11, 2024 at 14:03, 지은 : 세 시 어때?\n역 앞에서\nTuesday, March 12, 2024\n",
    ],
)
def test_a_kakaotalk_export_is_its_turns(tmp_path, export):
    (tmp_path / "KakaoTalk.txt").write_text(export, encoding="utf-8-sig")
    assert read_dialogue(tmp_path / "KakaoTalk.txt") == KAKAO_TURNS
    assert kakao_dialogue(KAKAO_TURNS) is None


def test_a_line_that_goes_on_is_kept_whatever_it_says():
    export = "[민수] [오후 2:01] 어제는\n일찍 나갔습니다.\nHe left early, and invited her.\n2024년의 일이다"
    assert kakao_dialogue(export) == "민수: 어제는 일찍 나갔습니다. He left early, and invited her. 2024년의 일이다"


def test_a_table_is_found_below_its_title_and_behind_a_cover_sheet(tmp_path, capsys):
    workbook = openpyxl.Workbook()
    workbook.active["A1"] = "둘째 시트에 자료가 있다"
    sheet = workbook.create_sheet("자료")
    sheet.merge_cells("A1:C1")
    sheet["A1"] = "대화 요약"
    for cells in ([], ["번호", "대화", "요약"], [1, DIALOGUE, SUMMARY], [], [2.0, "P: z", "w"]):
        sheet.append(cells)
    workbook.save(tmp_path / "a.xlsx")
    assert list(iter_rows(tmp_path / "a.xlsx")) == [row("1"), row("2", "P: z", ["w"])]
    assert "of 2 sheets '자료' is read" in capsys.readouterr().out


def test_a_table_of_one_column_has_its_first_cell_as_name(tmp_path):
    write_rows(tmp_path / "a.xlsx", ["대화"], [{"대화": "P: a"}, {"대화": "P: b"}])
    found = iter_rows(tmp_path / "a.xlsx", require_summary=False)
    assert [each["dialogue"] for each in found] == ["P: a", "P: b"]


def test_a_missing_value_of_numpy_is_missing(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"fname": "a", "dialogue": "P: a", "summary": "s", "topic": NaN}\n')
    assert list(iter_rows(tmp_path / "a.jsonl")) == [row("a", "P: a", ["s"])]


@pytest.mark.parametrize("orient", ["split", "index", "columns"])
def test_a_frame_that_pandas_wrote_by_column_is_one_line_with_the_way_to_write_rows(tmp_path, orient):
    frame = pandas.DataFrame({"fname": ["a"], "dialogue": [DIALOGUE], "summary": [SUMMARY]})
    frame.to_json(tmp_path / "a.json", orient=orient)
    assert "pandas: orient='records'" in message(iter_rows, tmp_path / "a.json")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_workbook_damaged_anywhere_is_one_line(tmp_path, place):
    write_rows(tmp_path / "a.xlsx", ["fname", "dialogue"], [{"fname": "a", "dialogue": DIALOGUE}])
    content = bytearray((tmp_path / "a.xlsx").read_bytes())
    start = int(place * len(content))
    content[start : start + 100] = bytes(100)
    (tmp_path / "b.xlsx").write_bytes(content)
    assert "b.xlsx: a damaged" in message(iter_rows, tmp_path / "b.xlsx")


# Pairs and conversion


def say(role, content):
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    "pair",
    [
        {"prompt": [say("user", f"{ASK}\n\n{DIALOGUE}")], "chosen": [say("assistant", "x")],
         "rejected": [say("assistant", "y")]},
        {"chosen": [say("user", DIALOGUE), say("assistant", "x")],
         "rejected": [say("user", DIALOGUE), say("assistant", "y")]},
        {"prompt": DIALOGUE, "chosen": "x", "rejected": "y"},
    ],
)  # fmt: skip
def test_pairs_are_read_in_the_formats_of_trl(tmp_path, pair):
    expected = [{"prompt": DIALOGUE, "chosen": "x", "rejected": "y", "margin": None, "kind": "human"}]
    assert read_pairs(write_jsonl(tmp_path / "a.jsonl", [pair])) == expected


def test_pairs_are_read_from_a_csv(tmp_path):
    header = ("prompt", "chosen", "rejected", "margin", "kind")
    path = write_csv(tmp_path / "a.csv", [(DIALOGUE, "x", "y", "0.5", "mbr"), (DIALOGUE, "x", "z", "", "")], header)
    assert [(pair["margin"], pair["kind"]) for pair in read_pairs(path)] == [(0.5, "mbr"), (None, "human")]


def test_convert_writes_plain_columns_and_replaces_nothing(tmp_path, capsys):
    source = write_json(tmp_path / "a.json", [nikl(), nikl(id="nikluge-1")])
    assert convert_file(str(source), tmp_path / "b.csv", {}) == 2
    assert read_rows(tmp_path / "b.csv")[1] == {
        "fname": "nikluge-1", "dialogue": DIALOGUE, "summary": SUMMARY, "topic": "인사, 날씨",
    }  # fmt: skip
    assert list(iter_rows(tmp_path / "b.csv")) == list(iter_rows(source))
    assert "2 rows of" in capsys.readouterr().out
    assert "nothing is overwritten" in message(convert_file, str(source), tmp_path / "b.csv", {})
