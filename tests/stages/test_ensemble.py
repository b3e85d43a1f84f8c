"""Ensembles: the consensus of candidates, the mean of adapters, and the recipe that writes them."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from benchmarks import mbr_speed
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.submission import read_predictions, write_submission
from dialsum_trl.metrics.consensus import mbr
from dialsum_trl.metrics.overlap import pairwise
from dialsum_trl.metrics.rouge import RougeConfig, bootstrap_interval, score
from dialsum_trl.models.file_names import WEIGHTS
from dialsum_trl.stages.ensemble import ensemble
from tests.conftest import TINY
from tests.metrics.test_rouge import ENGLISH, WORDS, needs_english

# Consensus


def test_the_candidate_that_agrees_most_is_chosen():
    (choice,) = mbr([["비가 온다", "민수는 집에 간다", "민수는 집에 일찍 간다", "민수는 학교에 간다"]])
    assert (choice.text, choice.index) == ("민수는 집에 간다", 1)


def test_the_utility_is_the_mean_rouge_against_the_other_candidates():
    row = ["가 나 다", "가 나 라", "마 나 다"]
    (choice,) = mbr([row], config=WORDS)
    others = [score([row[0]], [[other]], WORDS).mean for other in row[1:]]
    assert choice.index == 0 and choice.utility == pytest.approx(sum(others) / 2)


def test_weights_decide_whose_agreement_counts():
    row = ["가 나 다", "가 나 다 라", "마 바 사", "마 바 사 아"]
    assert mbr([row], weights=[1, 5, 1, 1], config=WORDS)[0].index == 0
    assert mbr([row], weights=[1, 1, 1, 5], config=WORDS)[0].index == 2
    assert mbr([row], weights=[1, 1, 1, 1], config=WORDS) == mbr([row], config=WORDS)


def test_equal_candidates_go_to_the_earlier_one():
    assert mbr([["가 나", "다 라", "가 나"]], config=WORDS)[0].index == 0
    assert mbr([["가", "나"]], config=WORDS)[0].index == 0


def test_length_outliers_neither_win_nor_vote():
    row = ["가 나 다", "가 나 라", " ".join("가나다라마바사아자차"), ""]
    (choice,) = mbr([row], config=WORDS)
    assert choice.rejected == (2, 3) and choice.index in (0, 1)
    assert mbr([row], config=WORDS, length_ratio=None)[0].rejected == (3,)


def test_one_candidate_or_only_empty_ones_are_taken_as_they_are():
    assert mbr([["가"]])[0].text == "가"
    assert mbr([["", ""]])[0].text == ""


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.sampled_from("가나다 ."), max_size=12), min_size=1, max_size=6))
def test_the_choice_is_one_of_the_candidates(row):
    (choice,) = mbr([row])
    assert choice.text == row[choice.index] and choice.index not in choice.rejected


@pytest.mark.parametrize(
    ("candidates", "weights", "ratio", "expected"),
    [
        ([["a"], []], None, 2, "row 2 has no list of candidates"),
        (["ab"], None, 2, "row 1 has no list of candidates"),
        ([["a", "b"]], [1], 2, "row 1 has 2 candidates for 1 weights"),
        ([["a", "b"]], [-1, 2], 2, "must be finite, 0 or more"),
        ([["a", "b"]], [0, 0], 2, "not all 0"),
        ([["a", "b"]], None, 0.5, "must be 1 or more"),
    ],
)
def test_candidates_that_do_not_fit_are_an_error(candidates, weights, ratio, expected):
    with pytest.raises(InputError, match=expected):
        mbr(candidates, weights, length_ratio=ratio)


@needs_english
def test_consensus_beats_a_random_pick_for_a_reader_who_had_no_vote():
    """Each human reference in turn is the judge: the other two and BART's output are the candidates, and the judge is
    hidden from the choice. The pick's ROUGE against the judge is compared with the mean over the three candidates."""
    rows = [json.loads(line) for line in (ENGLISH / "dialogsum.test.jsonl").read_text(encoding="utf-8").splitlines()]
    outputs = (ENGLISH / "test_output.txt").read_text(encoding="utf-8").split("\n")[: len(rows)]
    config = RougeConfig("english", stemmer=True)
    gains = np.zeros(len(rows))
    for judge in (1, 2, 3):
        voters = [number for number in (1, 2, 3) if number != judge]
        candidates = [[row[f"summary{n}"] for n in voters] + [out] for row, out in zip(rows, outputs, strict=True)]
        picks = mbr(candidates, config=config, length_ratio=None)
        for index, (row, choice) in enumerate(zip(rows, picks, strict=True)):
            tokens = [config.tokens(text) for text in candidates[index]]
            scores = 100 * pairwise(tokens, [config.tokens(row[f"summary{judge}"])]).mean(axis=0)[:, 0]
            gains[index] += (scores[choice.index] - scores.mean()) / 3
    low, high = bootstrap_interval(gains)
    print(f"consensus - random pick: {gains.mean():+.2f} [{low:+.2f}, {high:+.2f}] ROUGE mean, {len(rows)} dialogues")
    assert low > 0


def test_the_utility_equals_rouge_score_and_the_benchmark_records_it(tmp_path):
    mbr_speed.main(["--smoke", "--output_dir", str(tmp_path)])
    saved = json.loads((tmp_path / "mbr_speed.json").read_text(encoding="utf-8"))
    assert saved["pairs_compared_with_rouge_score"] == 40


def test_1000_random_pairs_equal_rouge_score():
    rng = random.Random(1)
    candidates = [mbr_speed.summaries(rng, 8) for _ in range(60)]
    assert mbr_speed.largest_difference(rng, candidates, 1000) < 1e-9


# The recipe


@pytest.fixture
def predictions(tmp_path):
    names = [f"dev_{i}" for i in range(20)]
    good = [f"민수는 {i}시에 집에 일찍 간다." for i in range(20)]
    files = {
        "a": good,
        "b": [text.replace("일찍 ", "") for text in good],
        "c": [f"지영이 {i}번 운다." if i % 2 else text for i, text in enumerate(good)],
    }
    for name, texts in files.items():
        write_submission(tmp_path / f"{name}.csv", names, texts)
    lines = [f'{name},"#Person1#: {text}",{text}' for name, text in zip(names, good, strict=True)]
    (tmp_path / "dev.csv").write_text("\n".join(["fname,dialogue,summary", *lines]), encoding="utf-8")
    return [str(tmp_path / f"{name}.csv") for name in files]


def test_the_recipe_writes_the_consensus_and_what_it_gains(tmp_path, predictions, capsys):
    argv = ["--prediction_files", *predictions, "--test_file", str(tmp_path / "dev.csv")]
    result = ensemble({}, [*argv, "--output_dir", str(tmp_path / "out")])
    assert list(read_predictions(tmp_path / "out" / "submission.csv").values()) == result["summaries"]
    saved = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert sum(saved["chosen_from"].values()) == 20
    assert (
        set(saved["rouge"]) == {*predictions, "consensus"} and saved["rouge"]["consensus"]["config"]["masks"] == "split"
    )
    assert saved["differences"]["a random pick"]["interval95"][0] > 0
    printed = capsys.readouterr().out
    assert "consensus against a random pick: +" in printed and "mecab" in printed


def test_a_folder_of_predict_stands_for_its_submission(tmp_path, predictions):
    (tmp_path / "system").mkdir()
    (tmp_path / "b.csv").rename(tmp_path / "system" / "submission.csv")
    argv = ["--prediction_files", predictions[0], str(tmp_path / "system"), predictions[2]]
    ensemble({}, [*argv, "--output_dir", str(tmp_path / "out")])
    saved = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert saved["files"][1] == str(tmp_path / "system" / "submission.csv")
    with pytest.raises(InputError, match=r"submission\.csv: is given twice"):
        ensemble({}, [*argv, saved["files"][1], "--output_dir", str(tmp_path / "other")])


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ("submission.csv", "which this command reads"),
        ("predictions.jsonl", "holds the summaries of recipes/predict.py"),
    ],
)
def test_the_consensus_replaces_no_summaries_of_others(tmp_path, predictions, taken, expected):
    (tmp_path / "out").mkdir()
    own = (tmp_path / "a.csv").rename(tmp_path / "out" / taken)
    files = [str(own) if taken == "submission.csv" else predictions[1], predictions[2]]
    before = own.read_bytes()
    with pytest.raises(InputError, match=expected):
        ensemble({}, ["--prediction_files", *files, "--output_dir", str(tmp_path / "out")])
    assert [path.name for path in (tmp_path / "out").iterdir()] == [taken] and own.read_bytes() == before


def test_files_of_different_rows_are_an_error_and_nothing_is_written(tmp_path, predictions):
    write_submission(tmp_path / "d.csv", ["dev_0"], ["가"])
    with pytest.raises(InputError, match=r"d\.csv do not fit the rows: 19 ids are missing: dev_1"):
        ensemble(
            {}, ["--prediction_files", *predictions, str(tmp_path / "d.csv"), "--output_dir", str(tmp_path / "out")]
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "give --prediction_files"),
        (["--prediction_files", "a.csv"], "two files or more"),
        (["--prediction_files", "a.csv", "b.csv", "--weights", "1", "9"], "with a third they count"),
        (["--prediction_files", "a.csv", "--adapter_paths", "x"], "give --prediction_files"),
        (["--adapter_paths", "nowhere", "other", "--greedy", "true"], "needs dev rows"),
        (["--adapter_paths", "nowhere"], "two adapters or more"),
        (["--adapter_paths", "nowhere", "./nowhere"], r"\./nowhere: is given twice"),
        (["--prediction_files", "a.csv", "b.csv", "a.csv"], r"--prediction_files a\.csv: is given twice"),
        (["--prediction_files", "a.csv", "b.csv", "--bootstrap", "-1"], "--bootstrap -1: must be at least 0"),
        (["--prediction_file", "a.csv"], "did you mean --prediction_files"),
    ],
)
def test_wrong_flags_are_one_line(argv, expected):
    with pytest.raises(InputError, match=expected):
        ensemble({}, argv)


def test_adapters_of_the_toy_are_averaged_greedily_and_the_soup_loads(tmp_path, predictions):
    folders = []
    for seed in (0, 1):
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(TINY / "llama", dtype=torch.float32)
        model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.data += seed * 0.01 * torch.randn_like(weights)
        folders.append(str(tmp_path / f"adapter{seed}"))
        model.save_pretrained(folders[-1])
    argv = ["--adapter_paths", *folders, "--greedy", "true", "--test_file", str(tmp_path / "dev.csv")]
    argv += ["--use_cpu", "true", "--dtype", "float32", "--quantization", "none", "--num_beams", "1"]
    result = ensemble({}, [*argv, "--max_new_tokens", "8", "--output_dir", str(tmp_path / "soup")])
    assert result["dev_score"] >= 0 and 1 <= len(result["kept"]) <= 2
    assert (tmp_path / "soup" / WEIGHTS).exists()
