"""What the report counts and draws: changes, groups of rows, differences of texts, curves and histograms."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum_trl.data.predictions import System
from dialsum_trl.metrics.rouge import Comparison, RougeConfig
from dialsum_trl.sharing.report import figures, plots
from dialsum_trl.sharing.report.page import Lengths, Run, shade

WORDS = RougeConfig("whitespace")


def scored(*texts, references=None):
    names = [f"r{i}" for i in range(len(texts[0]))]
    rows = {
        "fname": names,
        "dialogue": ["#Person1#: 가"] * len(names),
        "summaries": references or [["가 나 다"]] * len(names),
    }
    systems = [System(f"s{i}", dict(zip(names, each, strict=True)), {}, {}, {}) for i, each in enumerate(texts)]
    return figures.score_systems(systems, rows, WORDS, bootstrap=50)


def test_a_change_is_unclear_while_its_interval_holds_0():
    spans = {"unclear": (-0.1, 2.0), "better": (0.1, 2.0), "worse": (-2.0, -0.1)}
    assert {verdict: Comparison(1.0, span, None, None).verdict for verdict, span in spans.items()} == {
        verdict: verdict for verdict in spans
    }


def test_tokens_and_cut_summaries_are_counted_in_the_rows_of_the_page_alone():
    names = ["r0", "r1"]
    rows = {"fname": names, "dialogue": ["#Person1#: 가"] * 2, "summaries": [["가 나 다"]] * 2}
    everywhere = [*names, "elsewhere"]
    system = System(
        "s",
        dict.fromkeys(everywhere, "가 나"),
        dict(zip(everywhere, (3, 5, 100), strict=True)),
        dict(zip(everywhere, (False, False, True), strict=True)),
        {},
    )
    (one,) = figures.score_systems([system], rows, WORDS, bootstrap=50)
    assert (one.tokens, one.hit_limit) == (4, 0)


def test_topics_come_most_frequent_first_and_rows_without_one_are_left_out():
    (one,) = scored(["가 나 다", "가", "라", "가 나 다"])
    groups = figures.by_topic([one], ["b", "a", "b", None])
    assert [(group.name, group.rows) for group in groups] == [("b", 2), ("a", 1)]
    assert groups[0].means == [pytest.approx((100 + 0) / 2)]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_every_row_is_in_one_length_group(lengths):
    systems = scored(["가 나 다"] * len(lengths))
    assert sum(group.rows for group in figures.by_length(systems, lengths, "tokens")) == len(lengths)


def test_best_and_worst_rows_are_the_extremes_and_never_overlap():
    (one,) = scored(["가 나 다", "라", "가 나", "가", "마"])
    good, bad = figures.extremes(one, 10)
    assert good == [0, 2] and bad == [4, 1]
    assert figures.extremes(scored(["가"])[0]) == ([0], [])


TEXTS = st.text(st.sampled_from("가나다 #Person1#은.,<>&"), max_size=30)


@given(TEXTS, TEXTS)
@settings(max_examples=150, deadline=None)
def test_the_pieces_of_a_difference_give_the_text_back(left, right):
    for text, pieces in zip((left, right), figures.differences(left, right), strict=True):
        assert "".join(piece.text for piece in pieces) == text


def test_what_only_one_side_has_is_marked():
    left, right = figures.differences("#Person1#은 월요일에 간다.", "#Person1#은 화요일에 간다.")
    assert [piece.text for piece in left if not piece.shared] == ["월요일"]
    assert [piece.text for piece in right if not piece.shared] == ["화요일"]


def test_equal_texts_have_no_marks():
    assert all(piece.shared for side in figures.differences("가 나 다", "가 나 다") for piece in side)


def test_curves_skip_what_is_not_finite_and_what_was_logged_at_one_step():
    losses = [{"step": step, "loss": loss} for step, loss in ((1, 2.0), (2, float("nan")), (3, 1.0))]
    run = Run("x", [*losses, {"step": 2, "eval_rouge_mean": 9.0}], {})
    (loss,) = run.plots
    assert "nan" not in loss and "Loss" in loss


def test_truncated_shares_follow_the_limits():
    lengths = Lengths("x", "tokens", [100, 600, 1100, 1200], 1024)
    assert lengths.shares == [(512, 75.0), (1024, 50.0)] and lengths.truncated == 50.0
    assert "512: 75.00 % over" in lengths.plot and "1024: 50.00 % over" in lengths.plot
    assert Lengths("x", "characters", [5], 1024).truncated is None


@pytest.mark.parametrize("values", [[1], [7, 7, 7], [1, 100_000], list(range(1, 500))])
def test_a_histogram_draws_every_value_once(values):
    drawn = plots.histogram(values, "tokens", [(512, "512")])
    assert "nan" not in drawn and drawn.count("<rect") >= 1


def test_the_intervals_of_all_systems_lie_inside_the_picture():
    drawn = plots.intervals([("a" * 60, 0.0, (0.0, 0.1)), ("b", 99.9, (99.0, 100.0))], 38.0, "floor")
    places = [float(x) for x in re.findall(r'cx="([-\d.]+)"', drawn)]
    assert len(places) == 2 and all(0 <= x <= plots.WIDE for x in places) and "…" in drawn


def test_the_lowest_mean_is_white_and_the_highest_darkest():
    groups = [figures.Group("a", 1, [10.0, 20.0]), figures.Group("b", 1, [15.0, 30.0])]
    assert [shade(mean, groups) for mean in (10.0, 30.0)] == [0, 65]
    assert shade(5.0, [figures.Group("a", 1, [5.0])]) == 30
    assert np.isfinite(shade(12.0, groups))
