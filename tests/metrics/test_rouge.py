"""Korean ROUGE: equal to `rouge_score`, right on hand-counted cases, never flattering in silence."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from benchmarks import rouge_speed
from dialsum_trl.core.errors import InputError
from dialsum_trl.metrics.overlap import pairwise
from dialsum_trl.metrics.rouge import CONSTANT_LINE, METRICS, RougeConfig, bootstrap_interval, compare, score
from dialsum_trl.metrics.tokens import tokenize
from tests.conftest import ROOT

ENGLISH = Path(os.environ.get("DIALSUM_EN", ROOT.parent / "shared" / "data" / "dialogsum_en"))
needs_english = pytest.mark.skipif(not ENGLISH.is_dir(), reason="DIALSUM_EN does not name the English DialogSum folder")
WORDS = RougeConfig("whitespace")
IDENTICAL = "호킨스 의사는 매년 건강검진을 받는 것을 권장합니다."
PARAPHRASE = "호킨스 의사는 해마다 건강검진을 받으라고 말합니다."
UNRELATED = "지하철이 고장 나서 늦었다"


class Tokens:
    """A tokenizer for `rouge_score` that splits as a configuration does."""

    def __init__(self, config):
        self.tokenize = config.tokens


def by_rouge_score(prediction, reference, config):
    scores = RougeScorer(list(METRICS), tokenizer=Tokens(config)).score(reference, prediction)
    return [100 * scores[metric].fmeasure for metric in METRICS]


# Tokens


def test_mecab_splits_the_official_sentence():
    expected = "호킨스 의사 는 매년 건강 검진 을 받 는 것 을 권장 합니다 ."
    assert " ".join(tokenize(IDENTICAL)) == expected


def test_masks_are_split_or_atomic():
    assert tokenize("#Person1#은 간다") == ("#", "Person", "1", "#", "은", "간다")
    assert tokenize("#Person1#은 간다", masks="atomic") == ("#Person1#", "은", "간다")
    assert tokenize("#PhoneNumber#로", "whitespace") == ("#PhoneNumber#로",)
    assert tokenize("#PhoneNumber#로", "whitespace", "atomic") == ("#PhoneNumber#", "로")
    assert tokenize("나 #SSN#", "char", "atomic") == ("나", "#SSN#")
    assert tokenize("가 나", "char") == ("가", "나")


def test_tokens_survive_characters_that_stop_mecab():
    assert tokenize("나는\0간다\ud800 집") == tokenize("나는 간다  집")


def test_endless_texts_are_cut_into_pieces():
    assert len(tokenize("가나다 " * 20_000)) >= 20_000
    assert "".join(tokenize("z" * 30_000)) == "z" * 30_000


# Scores


def test_hand_counted_words():
    # 3 of 4 predicted words among 5; common pairs: (민수는 내일); in order: 민수는 내일 간다
    report = score(["민수는 내일 집에 간다"], [["민수는 내일 학교에 꼭 간다"]], WORDS)
    assert report.rouge1 == pytest.approx(100 * 2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))
    assert report.rouge2 == pytest.approx(100 * 2 * (1 / 3) * (1 / 4) / (1 / 3 + 1 / 4))
    assert report.rougeL == pytest.approx(report.rouge1)
    assert report.mean == pytest.approx(report.sum / 3)


def test_hand_counted_morphemes():
    # 나 는 집 에 간다 / 나 는 학교 에 간다: 4 of 5 alike; pairs (나 는), (에 간다) of 4; in order 4
    report = score(["나는 집에 간다"], [["나는 학교에 간다"]])
    assert (report.rouge1, report.rouge2, report.rougeL) == pytest.approx((80, 50, 80))


def test_repeated_words_count_as_often_as_the_reference_has_them():
    report = score(["네 네 네 네"], [["네 네"]], WORDS)
    assert report.rouge1 == pytest.approx(100 * 2 * 0.5 * 1 / 1.5)


def test_order_matters_to_rouge_l_alone():
    report = score(["다 나 가"], [["가 나 다"]], WORDS)
    assert (report.rouge1, report.rouge2, report.rougeL) == pytest.approx((100, 0, 100 / 3))


@pytest.mark.parametrize("config", [RougeConfig(), RougeConfig(masks="atomic"), WORDS, RougeConfig("char")], ids=str)
def test_unrelated_scores_below_paraphrase_below_identical(config):
    means = [score([text], [[IDENTICAL]], config).mean for text in (UNRELATED, PARAPHRASE, IDENTICAL)]
    assert means[0] < means[1] < means[2]
    assert means[2] == pytest.approx(100)


def test_several_references_are_averaged_or_the_best_is_taken():
    references = [["가 나", "가 다", "라 마"]]
    mean = score(["가 나"], references, WORDS)
    best = score(["가 나"], references, RougeConfig("whitespace", references="max"))
    assert (mean.rouge1, best.rouge1) == pytest.approx((50, 100))
    assert mean.references_per_row == (3, 3)


def test_an_empty_prediction_scores_0():
    report = score(["", IDENTICAL], [[IDENTICAL], [IDENTICAL]])
    assert report.per_row.tolist() == [[0, 0, 0], pytest.approx([100, 100, 100])]


def test_atomic_masks_lower_what_a_constant_line_gets():
    references = [["#Person1#은 #Person2#에게 전화번호를 물어본다."]] * 3
    split, atomic = (
        score([IDENTICAL] * 3, references, RougeConfig(masks=masks)).floor for masks in ("split", "atomic")
    )
    assert split.mean > atomic.mean > 0


def test_the_floor_is_the_score_of_the_constant_line():
    references = [[IDENTICAL], ["#Person1#은 집에 간다."]]
    report = score([IDENTICAL, IDENTICAL], references)
    assert report.floor.mean == score([CONSTANT_LINE] * 2, references).mean
    assert score([IDENTICAL] * 2, references, floor_line=None).floor is None


WORD_POOL = ["나는", "#Person1#은", "집에", "간다", ".", "민수", "가", "을", "학교", "3시", "네", "네"]
korean = st.lists(st.sampled_from(WORD_POOL), max_size=25).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(korean, korean, st.sampled_from([RougeConfig(), RougeConfig(masks="atomic"), WORDS, RougeConfig("char")]))
def test_every_score_equals_rouge_scores(prediction, reference, config):
    report = score([prediction], [[reference]], config, bootstrap=0, floor_line=None)
    assert report.per_row[0] == pytest.approx(by_rouge_score(prediction, reference, config), abs=1e-9)


def test_pairwise_equals_rouge_score_on_random_sequences():
    rng = random.Random(0)
    config = WORDS
    texts = [" ".join(rng.choices("abcdefgh", k=rng.randint(0, 30))) for _ in range(32)]
    tokens = [config.tokens(text) for text in texts]
    scores = 100 * pairwise(tokens, tokens)
    for i, left in enumerate(texts):
        for j, right in enumerate(texts):
            assert scores[:, i, j] == pytest.approx(by_rouge_score(left, right, config), abs=1e-9)


@needs_english
def test_the_authors_bart_scores_as_published():
    rows = [json.loads(line) for line in (ENGLISH / "dialogsum.test.jsonl").read_text(encoding="utf-8").splitlines()]
    outputs = (ENGLISH / "test_output.txt").read_text(encoding="utf-8").split("\n")[: len(rows)]
    report = score(outputs, [[row["summary1"]] for row in rows], RougeConfig("english", stemmer=True), bootstrap=0)
    assert (report.rouge1, report.rouge2, report.rougeL) == pytest.approx((45.91, 21.32, 38.71), abs=0.1)
    three = [[row[f"summary{i}"] for i in (1, 2, 3)] for row in rows]
    report = score(outputs, three, RougeConfig("english"), bootstrap=0)
    assert (report.rouge1, report.rouge2, report.rougeL) == pytest.approx((42.9, 18.7, 36.3), abs=0.1)


# Intervals


def test_the_interval_covers_the_mean_and_narrows_with_rows():
    rng = np.random.default_rng(1)
    narrow, wide = (bootstrap_interval(rng.normal(50, 10, n)) for n in (2000, 50))
    assert narrow[0] < 50 < narrow[1]
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 * 10 / 2000**0.5, rel=0.15)
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_intervals_are_seeded_and_optional():
    predictions, references = [IDENTICAL, PARAPHRASE, UNRELATED], [[IDENTICAL]] * 3
    assert score(predictions, references).interval == score(predictions, references).interval
    low, high = score(predictions, references).interval
    assert low <= score(predictions, references).mean <= high
    assert score(predictions, references, bootstrap=0).interval is None


def test_two_systems_are_compared_row_by_row():
    references = [[f"{IDENTICAL} {number}번"] for number in range(40)]
    worse = [f"{PARAPHRASE} {number}번" for number in range(40)]
    better = [row[0] for row in references]
    found = compare(worse, better, references)
    assert found.delta == pytest.approx(found.b.mean - found.a.mean) and found.verdict != "unclear"
    assert found.interval[0] <= found.delta <= found.interval[1]
    # rows differ among themselves by more than the interval of the difference: it is paired
    assert found.interval[1] - found.interval[0] < 2
    same = compare(worse, worse, references)
    assert same.delta == 0 and same.interval == (0, 0) and same.verdict == "unclear"


# What is printed and saved


def test_every_printed_and_saved_score_carries_its_configuration():
    config = RougeConfig(masks="atomic", references="max")
    report = score([IDENTICAL], [[IDENTICAL, PARAPHRASE]], config)
    table = report.table()
    for word in (
        "mecab",
        "masks atomic",
        "max over references",
        "2 references",
        "1 rows",
        "constant line",
        "mean",
        "sum",
    ):
        assert word in table
    saved = json.loads(json.dumps(report.to_dict(per_row=True)))
    assert saved["config"]["masks"] == "atomic" and saved["config"]["tokens_by"].startswith("mecab-ko 1.")
    assert saved["floor"]["line"] == CONSTANT_LINE and len(saved["per_row"][0]) == 3
    assert saved["mean"] == pytest.approx(report.mean, abs=1e-4) and saved["interval95_of_mean"]
    assert "atomic" in str(compare([""], [IDENTICAL], [[IDENTICAL]], config))


# What is wrong


@pytest.mark.parametrize(
    ("predictions", "references", "config", "expected"),
    [
        (["a"], [["a"], ["b"]], WORDS, "1 predictions for 2 rows"),
        ([], [], WORDS, "no rows to score"),
        (["a", "b"], [["a"], []], WORDS, "row 2 has no list of references"),
        (["a"], ["a"], WORDS, "row 1 has no list of references"),
        ([None], [["a"]], WORDS, "prediction 1 is NoneType"),
        (["a"], [["a", None]], WORDS, "row 1 has no list of references"),
        (["가"], [["가"]], RougeConfig("english"), "drops Hangul"),
    ],
)
def test_what_cannot_be_scored_is_an_error(predictions, references, config, expected):
    with pytest.raises(InputError, match=expected):
        score(predictions, references, config)


@pytest.mark.parametrize("wrong", [{"tokenizer": "kiwi"}, {"masks": "no"}, {"references": "min"}, {"stemmer": True}])
def test_a_wrong_configuration_is_an_error(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        RougeConfig(**wrong)


def test_the_speed_benchmark_records_its_figures(tmp_path):
    rouge_speed.main(["--smoke", "--output_dir", str(tmp_path)])
    saved = json.loads((tmp_path / "rouge_speed.json").read_text(encoding="utf-8"))
    assert saved["largest_difference_to_rouge_score"] < 1e-9
    assert saved["shape"].startswith("20 rows") and saved["versions"]["rapidfuzz"]
