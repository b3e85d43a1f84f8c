"""Rewards without a model: what each pays for and what it does not."""

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.metrics.qualities import hangul_share, length_band, mask_fidelity, no_repetition
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.rl.rewards import end_of_turn_reward, reward_functions, rouge_reward

REFERENCE = "#Person1#은 호텔 방을 예약한다."
DIALOGUE = "#Person1#: 방이 있나요? 제 번호는 #PhoneNumber#입니다.\n#Person2#: 네, 있습니다."


def one(function, text, **columns):
    return function(completions=[[{"role": "assistant", "content": text}]], **columns)[0]


def test_rouge_reward_is_one_for_the_reference_and_zero_for_other_words():
    reward = rouge_reward(RougeConfig("whitespace"))
    assert one(reward, REFERENCE, summaries=[[REFERENCE]]) == pytest.approx(1)
    assert one(reward, "전혀 다른 말", summaries=[[REFERENCE]]) == 0


def test_rouge_reward_is_the_mean_of_the_three_scores_over_a_hundred():
    # two of three words, one of two bigrams: F1 of R-1 and R-L 2*2/5, of R-2 2*1/3
    reward = one(rouge_reward(RougeConfig("whitespace")), "가 나", summaries=[["가 나 다"]])
    assert reward == pytest.approx((0.8 + 2 / 3 + 0.8) / 3)


@pytest.mark.parametrize(
    ("length", "expected"), [(10, 1), (6, 1), (14, 1), (4, 0.5), (17, 0.5), (2, 0), (20, 0), (50, 0)]
)
def test_length_band_is_flat_inside_and_falls_to_zero_outside(length, expected):
    assert one(length_band, "가" * length, summaries=[["나" * 8, "나" * 12]]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("#Person1#은 방을 찾고 #PhoneNumber#를 준다.", 1),
        ("#Person3#은 방을 찾는다.", 0),
        ("#Person1#과 #Person3#은 방을 찾는다.", 0.5),
        ("#Person1은 방을 찾는다.", 0),
        ("#Person1#과 Person2#은 방을 찾는다.", 0.5),
        ("방을 찾는다.", 0),
    ],
)
def test_mask_fidelity_pays_for_masks_that_the_dialogue_holds(summary, expected):
    assert one(mask_fidelity, summary, dialogue=[DIALOGUE]) == expected


def test_a_dialogue_without_masks_wants_none():
    assert one(mask_fidelity, "민수는 방을 찾는다.", dialogue=["민수: 방이 있나요?"]) == 1


def test_repeated_phrases_cost():
    assert one(no_repetition, "하나 둘 셋 넷 다섯") == 1
    assert one(no_repetition, "하나 둘 셋 하나 둘 셋") == pytest.approx(3 / 4)
    assert one(no_repetition, "네 네") == 0.5
    assert one(no_repetition, "") == 0


def test_chinese_in_a_korean_summary_costs_and_masks_do_not():
    assert one(hangul_share, "#Person1#은 방을 3개 찾는다.") == 1
    assert one(hangul_share, "방을预约") == pytest.approx(0.5)
    assert one(hangul_share, "12345") == 0


def test_end_of_turn_is_paid_for_a_stop_token_at_the_end_only():
    reward = end_of_turn_reward([9])
    assert reward(completion_ids=[[1, 2, 9], [9, 2], [], [9]]) == [1, 0, 0, 1]


def test_names_become_functions_in_their_order():
    functions = reward_functions(["end_of_turn", "rouge", "hangul_share"], RougeConfig("char"), [9])
    assert [f.__name__ for f in functions] == ["end_of_turn", "rouge", "hangul_share"]


@pytest.mark.parametrize(("names", "message"), [(["bleu"], "bleu"), (["rouge", "rouge"], "twice")])
def test_unknown_or_doubled_names_are_errors(names, message):
    with pytest.raises(InputError, match=message):
        reward_functions(names, RougeConfig("char"), [9])
