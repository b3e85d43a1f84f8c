"""Unfaithful pairs of the toy corpus: no classifier of characters tells which side is rejected."""

import random
import re
from collections import Counter

import pytest

from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.rl.faithfulness import negatives
from dialsum_trl.rl.form import resistant
from dialsum_trl.rl.pair_making import unfaithful_pairs
from tests.conftest import ROOT
from tests.told_by_form import accuracy_of_pairs, accuracy_of_texts, held_out_accuracy

TOY = ROOT / "dialsum_trl" / "toy" / "data"
MOST = 0.6  # a coin has 0.5


def toy_pairs(part, seed):
    rows = list(read_dialogues(TOY / f"{part}.csv"))
    pairs, told = unfaithful_pairs(rows, [row["summaries"][0] for row in rows], random.Random(seed))
    return pairs, told


def sides(pairs):
    return [(pair["chosen"], pair["rejected"]) for pair in pairs]


@pytest.fixture(scope="module")
def made():
    return toy_pairs("train", 0)


@pytest.mark.parametrize("accuracy", [accuracy_of_pairs, accuracy_of_texts])
def test_held_out_pairs_are_not_told_by_their_characters(made, accuracy):
    pairs, _ = made
    assert len(pairs) > 400
    assert held_out_accuracy(sides(pairs), accuracy) <= MOST


def test_nor_are_pairs_of_other_rows(made):
    assert accuracy_of_pairs(sides(made[0]), sides(toy_pairs("dev", 1)[0])) <= MOST


def test_nor_is_any_kind_alone(made):
    kinds = Counter(pair["kind"] for pair in made[0])
    assert {"speakers", "number", "weekday", "mask"} <= set(kinds)
    for kind, count in kinds.items():
        if count >= 40:  # of fewer, chance alone gives more than 60 %
            pairs = [pair for pair in made[0] if pair["kind"] == kind]
            assert held_out_accuracy(sides(pairs)) <= MOST, kind


def test_a_kind_that_shows_in_a_corpus_is_left_out_and_counted():
    places = [f"{number}번 방" for number in range(400)]
    rows = [{"fname": place, "dialogue": "", "summaries": []} for place in places]
    pairs, told = unfaithful_pairs(rows, [f"내일 {place}에서 회의를 한다." for place in places], random.Random(0))
    assert told["negation"] > 10 and sum(pair["kind"] == "negation" for pair in pairs) <= 1


def test_versions_made_without_a_corpus_are_not_told_either():
    summaries = [row["summaries"][0] for row in read_dialogues(TOY / "train.csv")]
    pairs = [
        (text, version) for i, text in enumerate(summaries) for _, version in negatives(text, random.Random(i))[:1]
    ]
    assert held_out_accuracy(pairs) <= MOST


def test_the_classifier_does_tell_broken_particles(made):
    names = {"#Person1#은": "#Person1#는", "#Person2#는": "#Person2#은"}
    broken = [(text, re.sub("|".join(names), lambda name: names[name[0]], text)) for text, _ in sides(made[0])]
    assert held_out_accuracy([pair for pair in broken if pair[0] != pair[1]]) > 0.95


def test_pairs_that_others_tell_are_left_out_until_half_of_the_rest_are_mistaken():
    denied = [(f"{name}는 간다.", f"{name}는 가지 않는다.") for name in "가나다라마바사아자차카타"]
    assert len(resistant(denied)) == 1  # nothing is told of a pair alone


def test_pairs_that_go_both_ways_all_stay():
    ways = [(f"{a}가 {b}를 부른다.", f"{b}가 {a}를 부른다.") for a, b in ("가나", "다라", "마바")]
    assert resistant(ways + [pair[::-1] for pair in ways]) == list(range(6))
