"""`dialsum check`: every problem of a file is counted with an example."""

import json
from bisect import bisect_left

import pytest

from dialsum_trl.cli.check import check_files
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.lengths import percentile
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.sft_rows import encode_dataset
from dialsum_trl.prompts.token_lengths import measure
from dialsum_trl.prompts.tokenizer import load_tokenizer
from tests.checked_files import GOOD, checked, has
from tests.conftest import TINY
from tests.row_files import write_csv, write_jsonl


def test_clean_files_are_ready(tmp_path, capsys):
    train = write_csv(tmp_path / "train.csv", [("train_0", GOOD, "회의 시간을 묻는다.")])
    ready, lines = checked(capsys, train)
    assert ready
    assert not any(line.startswith(("error", "warning")) for line in lines)


@pytest.mark.parametrize(
    ("rows", "finding"),
    [
        ([("a", GOOD, "요약"), ("a", GOOD + " 네.", "요약")], "fname an earlier row has: 1 (a)"),
        ([("a", " \\n ", "요약"), ("b", GOOD, "요약")], "without a dialogue: 1 (a)"),
        ([("a", GOOD, " "), ("b", GOOD + " 네.", "요약")], "without a summary: 1 (a)"),
        ([("", GOOD, "요약")], "without fname: 1 (row 1)"),
    ],
)
def test_what_training_refuses_is_an_error_with_its_row(tmp_path, capsys, rows, finding):
    ready, lines = checked(capsys, write_csv(tmp_path / "train.csv", rows))
    assert not ready
    assert has(lines, "error", finding)


@pytest.mark.parametrize(
    ("dialogue", "summary", "finding"),
    [
        (GOOD, "#Person3#이 회의 시간을 묻는다.", "mask that their dialogue does not have"),
        ("#Person1#: 네.", "짧다.", "single line"),
        (GOOD + "\n그런데 누가 오나요?", "묻는다.", "starts with no speaker"),
        ("#Person1#: hello, how are you?\n#Person2#: fine", "인사한다.", "without Korean"),
        (GOOD + " #Nickname#", "묻는다.", "#Nickname# x1"),
        (
            "#Person1#: 네.\n#Person2#: 응.",
            "대화보다 훨씬 더 긴 요약문이라서 이상한 경우이다. 정말 그렇다.",
            "not shorter",
        ),
    ],
)
def test_what_looks_odd_is_a_warning_and_does_not_stop(tmp_path, capsys, dialogue, summary, finding):
    ready, lines = checked(capsys, write_csv(tmp_path / "train.csv", [("a", dialogue, summary)]))
    assert ready
    assert has(lines, "warning", finding)


@pytest.mark.parametrize(
    ("dialogue", "finding"),
    [
        (GOOD.replace("\n", "\\n"), r"literal \n"),
        (GOOD.replace("\n", "<br>"), "<br>"),
        (GOOD.replace("\n", "\r\n"), "carriage returns"),
        (GOOD.replace(" ", "  "), "runs of spaces"),
        (GOOD.replace("\n", " "), "middle of a line"),
        (GOOD.replace("#Person1#", "Person1"), "no #PersonN#"),
        (GOOD.replace("#Person1#", "#사람1#"), "no #PersonN#"),
        ("\ufeff" + GOOD, "invisible"),
    ],
)
def test_dirt_that_cleaning_removes_is_noted_by_kind(tmp_path, capsys, dialogue, finding):
    ready, lines = checked(capsys, write_csv(tmp_path / "train.csv", [("a", dialogue, "회의 시간을 묻는다.")]))
    assert ready
    assert has(lines, "note", finding)


def test_equal_rows_in_training_and_evaluation_are_an_error(tmp_path, capsys):
    train = write_csv(tmp_path / "train.csv", [("train_0", GOOD, "요약")])
    dev = write_csv(tmp_path / "dev.csv", [("dev_0", GOOD + " ", "요약")])
    ready, lines = checked(capsys, train, dev)
    assert not ready
    assert has(lines, "error", "train_0 and dev_0")


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path, capsys):
    broken = tmp_path / "train.csv"
    broken.write_bytes("fname,dialogue\na,안녕".encode() + b"\xff")
    dev = write_csv(tmp_path / "dev.csv", [("dev_0", GOOD, "요약")])
    ready, lines = checked(capsys, broken, dev)
    assert not ready
    assert has(lines, "error", "line 2, byte 23 (0xff)")
    assert any("dev.csv: 1 rows" in line for line in lines)


def test_a_missing_column_names_the_one_that_was_meant(tmp_path, capsys):
    ready, lines = checked(capsys, write_csv(tmp_path / "train.csv", [("a", GOOD)], header=("fname", "Dialoge")))
    assert not ready
    assert has(lines, "error", "--dialogue_column Dialoge")


def test_a_file_without_summaries_is_for_prediction(tmp_path, capsys):
    ready, lines = checked(capsys, write_csv(tmp_path / "test.csv", [("test_0", GOOD)], header=("fname", "dialogue")))
    assert ready
    assert has(lines, "note", "for prediction only")
    assert lines[-1] == "ready for prediction, not for training"


def test_a_file_whose_summaries_are_all_blank_is_for_prediction(tmp_path, capsys):
    blank = write_csv(tmp_path / "test.csv", [("test_0", GOOD, ""), ("test_1", GOOD + " 네.", " ")])
    ready, lines = checked(capsys, blank)
    assert ready and lines[-1] == "ready for prediction, not for training"
    assert has(lines, "note", "no summaries: for prediction only") and not has(lines, "error", "")
    train = write_csv(tmp_path / "train.csv", [("train_0", GOOD + " 응.", "요약")])
    ready, lines = checked(capsys, train, blank)
    assert ready and lines[-1] == "ready for training"
    ready, lines = checked(capsys, blank, train)
    assert not ready and has(lines, "error", "no summaries: the first of several files is for training")


def test_the_first_of_several_files_is_for_training_and_needs_summaries(tmp_path, capsys):
    without = write_csv(tmp_path / "train.csv", [("train_0", GOOD)], header=("fname", "dialogue"))
    dev = write_csv(tmp_path / "dev.csv", [("dev_0", GOOD + " 네.", "요약")])
    ready, lines = checked(capsys, without, dev)
    assert not ready
    assert has(lines, "error", "no summaries: the first of several files is for training; name its --summary_column")
    ready, lines = checked(capsys, dev, without)
    assert ready and lines[-1] == "ready for training"


def test_rows_that_training_refuses_under_max_length_are_an_error(tmp_path, capsys):
    rows = [("short", GOOD, "묻는다."), ("long", GOOD + " 네.", "#Person1#은 #Person2#에게 회의 시간을 묻는다. " * 4)]
    train, name = write_csv(tmp_path / "train.csv", rows), str(TINY / "llama")
    tokenizer = load_tokenizer(name)

    def trains(file, limit):
        try:
            encode_dataset(read_dialogues(file), tokenizer, stop_token_ids(tokenizer), limit)
        except InputError:
            return False
        return True

    limits = range(60, 400)
    longest = limits[bisect_left(limits, True, key=lambda limit: trains(train, limit))]
    for limit in (longest - 1, longest):
        ready, lines = checked(capsys, train, tokenizer=name, max_length=limit)
        assert ready == (limit == longest)
    fixed = tmp_path / "fixed.csv"
    _, lines = checked(capsys, train, tokenizer=name, max_length=longest - 1, fix=fixed)
    assert has(lines, "error", f"do not fit into --max_length {longest - 1}: 1 (long)")
    assert read_dialogues(fixed)["fname"][:] == ["short"]


def test_max_length_counts_tokens_so_it_needs_a_tokenizer(tmp_path):
    with pytest.raises(
        InputError, match="--max_length 60: counts tokens; name the model that makes them by --tokenizer"
    ):
        check_files([write_csv(tmp_path / "train.csv", [("a", GOOD, "요약")])], max_length=60)


def test_token_lengths_are_those_of_the_training_rows():
    tokenizer = load_tokenizer(str(TINY / "llama"))
    rows = read_dialogues(TINY / "data" / "dev.csv")
    encoded, _ = encode_dataset(rows, tokenizer, stop_token_ids(tokenizer), 1024)
    how = measure(str(TINY / "llama"))
    prompts, summaries = how.prompt(rows["dialogue"][:]), how.summary([row[0] for row in rows["summaries"]])
    counted = [prompt + summary for prompt, summary in zip(prompts, summaries, strict=True)]
    assert all(abs(count - len(ids)) <= 1 for count, ids in zip(counted, encoded["input_ids"], strict=True))


def test_shares_over_the_limits_are_printed_with_a_tokenizer(tmp_path, capsys):
    rows = [("a", GOOD * 40, "요약"), ("b", GOOD, "요약")]
    _, lines = checked(capsys, write_csv(tmp_path / "train.csv", rows), tokenizer=str(TINY / "llama"))
    assert "rows over 512: 50.00 %, 1024: 50.00 %" in lines


def test_percentiles_are_values_that_occur():
    assert [percentile([4, 1, 3, 2], percent) for percent in (0, 25, 50, 99, 100)] == [1, 1, 2, 4, 4]


def test_the_histogram_counts_every_row(tmp_path, capsys):
    rows = [(str(i), GOOD + " " + "네 " * i + str(i), "요약") for i in range(30)]
    _, lines = checked(capsys, write_csv(tmp_path / "train.csv", rows))
    bars = [line for line in lines if "█" in line]
    assert sum(int(line.split()[-1]) for line in bars) == 30


def test_the_embedded_sample_files_are_ready(capsys):
    ready, _ = checked(capsys, *(TINY / "data" / name for name in ("train.csv", "dev.csv", "test.csv")))
    assert ready


def test_jsonl_rows_without_a_key_or_with_numbers_are_errors_and_not_a_crash(tmp_path, capsys):
    path = tmp_path / "train.jsonl"
    rows = [
        {"fname": "a", "dialogue": GOOD, "summary": "요약"},
        {"fname": "b"},
        {"fname": 3, "dialogue": 4, "summary": None},
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    ready, lines = checked(capsys, path)
    assert not ready
    assert has(lines, "error", "rows whose dialogue is no text: 1 (3)")
    assert has(lines, "error", "rows without a dialogue: 1 (b)")


def test_whole_numbers_are_names_of_rows_and_other_numbers_are_one_error(tmp_path, capsys):
    rows = [{"fname": number, "dialogue": f"{GOOD} {number}", "summary": "묻는다."} for number in range(3)]
    ready, lines = checked(capsys, write_jsonl(tmp_path / "train.jsonl", rows))
    assert ready and not has(lines, "note", "no summaries")
    _, lines = checked(capsys, write_jsonl(tmp_path / "twice.jsonl", [*rows, {**rows[0], "fname": "0"}]))
    assert has(lines, "error", "fname an earlier row has: 1 (0)")
    rows = [{**row, "fname": name} for row, name in zip(rows, (1.0, True, [1]), strict=True)]
    ready, lines = checked(capsys, write_jsonl(tmp_path / "floats.jsonl", rows))
    assert not ready
    assert has(lines, "error", "rows whose fname is no text: 3 (row 1,")
    assert not has(lines, "error", "rows without") and not has(lines, "note", "no summaries")


def test_two_columns_that_could_be_the_reference_are_an_error(tmp_path, capsys):
    rows = [("a", GOOD, "요약", "요약")]
    ready, lines = checked(capsys, write_csv(tmp_path / "t.csv", rows, ("fname", "dialogue", "summary", "summary1")))
    assert not ready
    assert has(lines, "error", "both 'summary' and 'summary1' exist")


def test_jsonl_is_read_too(tmp_path, capsys):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"fname": "a", "dialogue": GOOD, "summary": "요약"}, ensure_ascii=False) + "\n", "utf-8")
    assert checked(capsys, path)[0]
