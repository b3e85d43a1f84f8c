"""`dialsum check`: every problem of a file is counted with an example; the cleaned copy holds what training takes."""

import csv
import json
from bisect import bisect_left

import pytest

from dialsum_trl.corpus.lengths import measure, percentile
from dialsum_trl.data import read_dialogues
from dialsum_trl.errors import InputError
from dialsum_trl.tool.check import check_files
from tests.conftest import TINY

GOOD = "#Person1#: 안녕하세요. 오늘 회의는 몇 시에 시작하나요?\n#Person2#: 오후 두 시에 시작합니다."


def write(path, rows, header=("fname", "dialogue", "summary")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def checked(capsys, *files, **kwargs):
    """Whether the files are ready, and the lines that were printed."""
    ready = check_files(list(files), **kwargs)
    return ready, capsys.readouterr().out.splitlines()


def has(lines, level, text):
    return any(line.startswith(level) and text in line for line in lines)


def test_clean_files_are_ready(tmp_path, capsys):
    train = write(tmp_path / "train.csv", [("train_0", GOOD, "회의 시간을 묻는다.")])
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
    ready, lines = checked(capsys, write(tmp_path / "train.csv", rows))
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
    ready, lines = checked(capsys, write(tmp_path / "train.csv", [("a", dialogue, summary)]))
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
def test_dirt_that_cleaning_mends_is_noted_by_kind(tmp_path, capsys, dialogue, finding):
    ready, lines = checked(capsys, write(tmp_path / "train.csv", [("a", dialogue, "회의 시간을 묻는다.")]))
    assert ready
    assert has(lines, "note", finding)


def test_equal_rows_in_training_and_evaluation_are_an_error(tmp_path, capsys):
    train = write(tmp_path / "train.csv", [("train_0", GOOD, "요약")])
    dev = write(tmp_path / "dev.csv", [("dev_0", GOOD + " ", "요약")])
    ready, lines = checked(capsys, train, dev)
    assert not ready
    assert has(lines, "error", "train_0 and dev_0")


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path, capsys):
    broken = tmp_path / "train.csv"
    broken.write_bytes("fname,dialogue\na,안녕".encode("cp949"))
    dev = write(tmp_path / "dev.csv", [("dev_0", GOOD, "요약")])
    ready, lines = checked(capsys, broken, dev)
    assert not ready
    assert has(lines, "error", "iconv")
    assert any("dev.csv: 1 rows" in line for line in lines)


def test_a_missing_column_names_the_one_that_was_meant(tmp_path, capsys):
    ready, lines = checked(capsys, write(tmp_path / "train.csv", [("a", GOOD)], header=("fname", "Dialog")))
    assert not ready
    assert has(lines, "error", "--dialogue_column Dialog")


def test_columns_of_other_names_are_given_and_kept_by_fix(tmp_path, capsys):
    train = write(tmp_path / "train.csv", [("a", GOOD.replace("\n", "\\n"), "요약")], header=("key", "text", "target"))
    columns = {"fname": "key", "dialogue": "text", "summary": "target"}
    ready, lines = checked(capsys, train, columns=columns, fix=tmp_path / "fixed.csv")
    assert ready
    assert has(lines, "note", r"literal \n")
    assert read_dialogues(tmp_path / "fixed.csv", columns=columns)["dialogue"][:] == [GOOD]
    with (tmp_path / "fixed.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == ["key", "text", "target"]


def test_a_file_without_summaries_is_for_prediction(tmp_path, capsys):
    ready, lines = checked(capsys, write(tmp_path / "test.csv", [("test_0", GOOD)], header=("fname", "dialogue")))
    assert ready
    assert has(lines, "note", "for prediction only")
    assert lines[-1] == "ready for prediction, not for training"


def test_the_first_of_several_files_is_for_training_and_needs_summaries(tmp_path, capsys):
    without = write(tmp_path / "train.csv", [("train_0", GOOD)], header=("fname", "dialogue"))
    dev = write(tmp_path / "dev.csv", [("dev_0", GOOD + " 네.", "요약")])
    ready, lines = checked(capsys, without, dev)
    assert not ready
    assert has(lines, "error", "no summaries: the first of several files is for training; name its --summary_column")
    ready, lines = checked(capsys, dev, without)
    assert ready and lines[-1] == "ready for training"


def test_rows_that_training_refuses_under_max_length_are_an_error(tmp_path, capsys):
    from dialsum_trl.encoding import encode_dataset
    from dialsum_trl.models import load_tokenizer, stop_token_ids

    rows = [("short", GOOD, "묻는다."), ("long", GOOD + " 네.", "#Person1#은 #Person2#에게 회의 시간을 묻는다. " * 4)]
    train, name = write(tmp_path / "train.csv", rows), str(TINY / "llama")
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
    assert has(lines, "error", f"no room for a prompt within --max_length {longest - 1}: 1 (long)")
    assert read_dialogues(fixed)["fname"][:] == ["short"]


def test_max_length_counts_tokens_so_it_needs_a_tokenizer(tmp_path):
    with pytest.raises(
        InputError, match="--max_length 60: counts tokens; name the model that makes them by --tokenizer"
    ):
        check_files([write(tmp_path / "train.csv", [("a", GOOD, "요약")])], max_length=60)


@pytest.mark.parametrize("name", ["fixed.csv", "fixed.jsonl"])
def test_fix_writes_what_training_reads_and_leaves_the_original(tmp_path, capsys, name):
    rows = [
        ("a", GOOD.replace("\n", "\\n"), "요약  그대로"),
        ("b", "", "요약"),
        ("a", GOOD, "요약"),
        ("c", "다른 " + GOOD, "요약"),
    ]
    train = write(tmp_path / "train.csv", rows)
    dev = write(tmp_path / "dev.csv", [("dev_0", "다른 " + GOOD, "다른 요약")])
    before = train.read_bytes()
    checked(capsys, train, dev, fix=tmp_path / name)
    assert train.read_bytes() == before
    fixed = read_dialogues(tmp_path / name)
    assert (fixed["fname"][:], fixed["dialogue"][:]) == (["a"], [GOOD])
    assert fixed["summaries"][0] == ["요약  그대로"]
    ready, lines = checked(capsys, tmp_path / name)
    assert ready
    assert not has(lines, "note", "cleaned on reading")


def test_fix_never_overwrites(tmp_path):
    train = write(tmp_path / "train.csv", [("a", GOOD, "요약")])
    with pytest.raises(InputError, match="nothing is overwritten"):
        check_files([train], fix=train)


@pytest.mark.parametrize("name", ["fixed.csv", "fixed.jsonl"])
def test_fix_keeps_lone_carriage_returns_of_summaries(tmp_path, capsys, name):
    train = write(tmp_path / "train.csv", [("a", GOOD, "앞줄\r뒷줄"), ("b", GOOD + " 네.", "약속\r한다\r\n")])
    assert checked(capsys, train, fix=tmp_path / name)[0]
    assert read_dialogues(tmp_path / name)["summaries"][:] == [["앞줄\r뒷줄"], ["약속\r한다\r\n"]]


def test_fix_writes_every_key_that_a_row_of_a_jsonl_has(tmp_path, capsys):
    rows = [
        {"fname": "a", "dialogue": GOOD, "summary": "요약"},
        {"fname": "b", "dialogue": GOOD + " 네.", "summary": "묻는다", "tags": ["회의", 2], "note": None, "by": "나"},
    ]
    assert checked(capsys, write_jsonl(tmp_path / "train.jsonl", rows), fix=tmp_path / "fixed.csv")[0]
    with (tmp_path / "fixed.csv").open(encoding="utf-8", newline="") as file:
        header, first, second = csv.reader(file)
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
    with pytest.raises(InputError, match="a further column holds a NUL or half a surrogate pair"):
        check_files([path], fix=tmp_path / "fixed.csv")


def test_token_lengths_are_those_of_the_training_rows():
    from dialsum_trl.encoding import encode_dataset
    from dialsum_trl.models import load_tokenizer, stop_token_ids

    tokenizer = load_tokenizer(str(TINY / "llama"))
    rows = read_dialogues(TINY / "data" / "dev.csv")
    encoded, _ = encode_dataset(rows, tokenizer, stop_token_ids(tokenizer), 1024)
    how = measure(str(TINY / "llama"))
    prompts, summaries = how.prompt(rows["dialogue"][:]), how.summary([row[0] for row in rows["summaries"]])
    counted = [prompt + summary for prompt, summary in zip(prompts, summaries, strict=True)]
    assert all(abs(count - len(ids)) <= 1 for count, ids in zip(counted, encoded["input_ids"], strict=True))


def test_shares_over_the_limits_are_printed_with_a_tokenizer(tmp_path, capsys):
    rows = [("a", GOOD * 40, "요약"), ("b", GOOD, "요약")]
    _, lines = checked(capsys, write(tmp_path / "train.csv", rows), tokenizer=str(TINY / "llama"))
    assert "rows over 512: 50.00 %, 1024: 50.00 %" in lines


def test_percentiles_are_values_that_occur():
    assert [percentile([4, 1, 3, 2], percent) for percent in (0, 25, 50, 99, 100)] == [1, 1, 2, 4, 4]


def test_the_histogram_counts_every_row(tmp_path, capsys):
    rows = [(str(i), GOOD + " " + "네 " * i + str(i), "요약") for i in range(30)]
    _, lines = checked(capsys, write(tmp_path / "train.csv", rows))
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


def test_two_columns_that_could_be_the_reference_are_an_error(tmp_path, capsys):
    rows = [("a", GOOD, "요약", "요약")]
    ready, lines = checked(capsys, write(tmp_path / "t.csv", rows, ("fname", "dialogue", "summary", "summary1")))
    assert not ready
    assert has(lines, "error", "both 'summary' and 'summary1' exist")


def test_jsonl_is_read_too(tmp_path, capsys):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"fname": "a", "dialogue": GOOD, "summary": "요약"}, ensure_ascii=False) + "\n", "utf-8")
    assert checked(capsys, path)[0]
