"""Prediction: what it leaves in its folder, which rules it applies, and what it refuses before a model is loaded."""

import json
import sys
from types import SimpleNamespace

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.predictions import read_system, write_predictions
from dialsum_trl.data.submission import read_predictions
from dialsum_trl.generation import sharded
from dialsum_trl.generation import sharded as inference
from dialsum_trl.generation.settings import GenerationSettings, Summary
from dialsum_trl.generation.sharded import UNFINISHED, summarize_kept, summarize_sharded
from dialsum_trl.stages.predict import predict
from tests.row_files import read_csv, sample, write_csv

ROWS = 4


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("rows"), dev=ROWS) / "dev.csv"


def run(toy_base, dev, output, *flags):
    recipe = dict(model_name_or_path=str(toy_base), dtype="float32", quantization="none", use_cpu=True)
    fixed = ["--test_file", str(dev), "--output_dir", str(output), "--max_new_tokens", "8", "--bootstrap", "20"]
    return predict(recipe, [*fixed, *flags])


@pytest.fixture(scope="module")
def folder(toy_base, dev, tmp_path_factory):
    output = tmp_path_factory.mktemp("predict") / "out"
    run(toy_base, dev, output, "--num_beams", "1")
    return output


def test_every_row_has_its_summary_length_and_scores(folder):
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["fname"] for row in rows] == [f"dev_{i}" for i in range(ROWS)]
    assert all(0 <= row["tokens"] <= 8 and row["hit_limit"] == (row["tokens"] == 8) for row in rows)
    assert all(0 <= row[name] <= 100 for row in rows for name in ("rouge1", "rouge2", "rougeL"))


def test_the_rows_average_to_the_score(folder):
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    rouge = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["rouge"]
    assert sum(row["rougeL"] for row in rows) / ROWS == pytest.approx(rouge["rougeL"], abs=1e-3)
    assert rouge["floor"]["mean"] > 0 and rouge["n"] == ROWS


def test_the_scores_say_how_the_summaries_were_made(folder, toy_base):
    how = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert (how["model"], how["adapter"], how["postprocess"]) == (str(toy_base), None, [])
    assert how["decoding"]["num_beams"] == 1 and how["decoding"]["max_new_tokens"] == 8


def test_with_json_the_result_is_the_only_text_on_stdout(toy_base, dev, tmp_path, monkeypatch, capsys):
    flags = ["--test_file", str(dev), "--output_dir", str(tmp_path), "--max_new_tokens", "4", "--bootstrap", "0"]
    monkeypatch.setattr(sys, "argv", ["predict.py", *flags, "--num_beams", "1", "--json"])
    predict(dict(model_name_or_path=str(toy_base), dtype="float32", quantization="none", use_cpu=True))
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert len(result["summaries"]) == ROWS
    assert result["scores"] == json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["rouge"]
    assert "cut by --max_new_tokens" in printed.err


def test_a_folder_reads_back_as_a_system(folder):
    system = read_system("zero-shot", folder)
    assert system.summaries == read_predictions(folder / "submission.csv")
    assert set(system.tokens) == set(system.hit_limit) == set(system.summaries)


def test_a_bare_file_reads_back_as_a_system_without_lengths(folder):
    system = read_system("file", folder / "submission.csv")
    assert system.summaries == read_system("folder", folder).summaries and system.tokens == {} == system.how


def test_rows_without_lengths_or_scores_hold_the_text_alone(tmp_path):
    write_predictions(tmp_path, ["a"], ["가 나"], {"model": "x"})
    assert json.loads((tmp_path / "predictions.jsonl").read_text(encoding="utf-8")) == {
        "fname": "a",
        "summary": "가 나",
    }


def test_samples_go_into_one_file_each_and_repeat_with_their_seed(toy_base, dev, tmp_path):
    flags = ("--num_return_sequences", "3", "--do_sample", "true", "--num_beams", "1", "--temperature", "2.0")
    for name in ("a", "b"):
        run(toy_base, dev, tmp_path / name, *flags)
    files = [read_predictions(tmp_path / "a" / "candidates" / f"{n}.csv") for n in (1, 2, 3)]
    assert files == [read_predictions(tmp_path / "b" / "candidates" / f"{n}.csv") for n in (1, 2, 3)]
    assert files[0] == read_predictions(tmp_path / "a" / "submission.csv") and files[0] != files[1]


def test_rules_change_what_is_written_only_when_asked_for(toy_base, dev, tmp_path, folder):
    run(toy_base, dev, tmp_path / "out", "--num_beams", "1", "--postprocess", "strip", "repeated_sentences")
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["postprocess"] == ["strip", "repeated_sentences"]
    assert set(read_predictions(tmp_path / "out" / "submission.csv")) == set(
        read_predictions(folder / "submission.csv")
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--postprocess", "mask"), "no post-processing rule 'mask'; did you mean masks"),
        (("--num_return_sequences", "3", "--num_beams", "2"), "--num_return_sequences 3"),
    ],
)
def test_a_flag_that_cannot_be_followed_is_one_line(toy_base, dev, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        run(toy_base, dev, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_dialogues_without_references_are_summarized_and_not_scored(toy_base, dev, tmp_path):
    bare = write_csv(tmp_path / "test.csv", [line[:2] for line in read_csv(dev)[1:]])
    result = run(toy_base, bare, tmp_path / "out", "--num_beams", "1")
    assert result["scores"] is None and len(result["summaries"]) == ROWS


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_of_all_processes_come_back_in_order(monkeypatch, processes):
    monkeypatch.setattr(
        sharded,
        "summarize",
        lambda summarizer, dialogues, *rest, **topics: [d.upper() for d in dialogues],
    )
    dialogues = list("abcdefg")
    shares = [[d.upper() for d in dialogues[rank::processes]] for rank in range(processes)]
    monkeypatch.setattr(sharded, "gather_object", lambda mine: shares)
    state = SimpleNamespace(process_index=0, num_processes=processes)
    assert summarize_sharded(None, dialogues, None, state) == list("ABCDEFG")


ABOUT = {"about": 1, "save_every": 2, "journal format": 2}


def write_journal(folder, *lines):
    (folder / UNFINISHED).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def part(start, *texts):
    return {"start": start, "summaries": [[{"text": text, "tokens": 1, "hit_limit": False}] for text in texts]}


@pytest.fixture
def upper_case(monkeypatch):
    """`summarize_kept` of five dialogues, two a part, where the "summary" is the dialogue in capitals."""
    made = []

    def summarize(summarizer, dialogues, *rest, **topics):
        made.append("".join(dialogues))
        return [Summary(text.upper(), 1, False) for text in dialogues]

    monkeypatch.setattr(inference, "summarize_sharded", summarize)

    def kept(folder):
        made.clear()
        found, _ = summarize_kept(None, list("abcde"), GenerationSettings(), None, folder, {"about": 1}, 2)
        return "".join(candidates[0].text for candidates in found), made

    return kept


def test_parts_of_two_runs_in_one_folder_go_to_their_own_rows(upper_case, tmp_path):
    ab, cd, e = part(0, "A", "B"), part(2, "C", "D"), part(4, "E")
    write_journal(tmp_path, ABOUT, ab, ab, cd)
    assert upper_case(tmp_path) == ("ABCDE", ["e"])
    write_journal(tmp_path, ABOUT, e, ab)  # the line between was lost when the other run started
    assert upper_case(tmp_path) == ("ABCDE", ["cd"])


def test_a_journal_without_the_first_row_of_each_part_is_started_anew(upper_case, tmp_path, capsys):
    write_journal(tmp_path, {"about": 1, "save_every": 2}, part(0, "C", "D")["summaries"])
    assert upper_case(tmp_path) == ("ABCDE", ["ab", "cd", "e"])
    assert "an unfinished run with other journal format; it is not used" in capsys.readouterr().out


@pytest.mark.parametrize("template", ["of other rows", "missing"])
def test_a_template_is_read_before_any_summary_is_made(toy_base, dev, tmp_path, template):
    if template == "of other rows":
        (tmp_path / "template.csv").write_text("fname,summary\ntest_0,\n")
    with pytest.raises(InputError, match=r"template\.csv"):
        run(toy_base, dev, tmp_path / "out", "--template", str(tmp_path / "template.csv"))
    assert not (tmp_path / "out").exists()


def test_prompts_that_cannot_fit_leave_nothing(toy_base, dev, tmp_path):
    with pytest.raises(InputError, match="--max_length"):
        run(toy_base, dev, tmp_path / "out", "--max_length", "20")
    assert not list((tmp_path / "out").iterdir())


def test_candidates_of_an_earlier_run_do_not_stay_beside_new_ones(toy_base, dev, tmp_path):
    (tmp_path / "candidates").mkdir()
    (tmp_path / "candidates" / "3.csv").write_text("fname,summary\n")
    with pytest.raises(InputError, match=r"candidates: 3\.csv is of an earlier run with more candidates"):
        run(toy_base, dev, tmp_path, "--num_return_sequences", "2", "--num_beams", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["candidates"]


def test_two_predictions_do_not_write_into_one_folder(toy_base, dev, held):
    with pytest.raises(InputError, match="another process is writing there"):
        run(toy_base, dev, held[0], "--num_beams", "1")
    assert not list(held[0].iterdir())
