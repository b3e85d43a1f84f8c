"""PPO's arithmetic against hand-computed cases and a plain-Python reference."""

import math
import random

import pytest
import torch

from dialsum_trl.rl.advantages import (
    explained_variance,
    gae,
    group_advantages,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)


def reference_gae(rewards, values, gamma, lam):
    """Textbook: A_t = sum over k of (gamma lam)^k delta_{t+k}, with value 0 after the last token."""
    n = len(rewards)
    delta = [rewards[t] + gamma * (values[t + 1] if t + 1 < n else 0.0) - values[t] for t in range(n)]
    return [sum((gamma * lam) ** k * delta[t + k] for k in range(n - t)) for t in range(n)]


def ragged(seed):
    draw = random.Random(seed)
    lengths = [draw.randint(1, 7) for _ in range(4)]
    rows = [[[draw.uniform(-2, 2) for _ in range(n)] for n in lengths] for _ in range(2)]
    return lengths, rows


def padded(rows, fill):
    width = max(map(len, rows)) + 1  # one column that is padding everywhere
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_gae_equals_the_textbook_sum_whatever_the_padding_holds(seed, gamma, lam):
    lengths, (rewards, values) = ragged(seed)
    mask = padded([[1.0] * n for n in lengths], 0.0)
    advantages, returns = gae(padded(rewards, 9.0), padded(values, -7.0), mask, gamma, lam)
    for row, n in enumerate(lengths):
        expected = reference_gae(rewards[row], values[row], gamma, lam)
        assert advantages[row, :n].tolist() == pytest.approx(expected, abs=1e-12)
        assert returns[row, :n].tolist() == pytest.approx([a + v for a, v in zip(expected, values[row], strict=True)])
        assert not advantages[row, n:].any() and not returns[row, n:].any()


def test_gae_of_a_hand_computed_case():
    # gamma 0.5, lam 0.5; deltas: 1 + 0.5*2 - 1 = 1, 0 + 0.5*4 - 2 = 0, 3 - 4 = -1
    advantages, returns = gae(
        torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3), gamma=0.5, lam=0.5
    )
    assert advantages.tolist() == [[1 - 1 / 16, -0.25, -1.0]]
    assert returns.tolist() == [[2 - 1 / 16, 1.75, 3.0]]


def test_a_reward_at_the_end_reaches_every_token_when_nothing_is_discounted():
    advantages, _ = gae(torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3), torch.ones(1, 3), gamma=1.0, lam=1.0)
    assert advantages.tolist() == [[1.0, 1.0, 1.0]]


def test_token_rewards_put_the_score_on_the_last_token_and_the_kl_on_each():
    rewards = token_rewards(
        scores=torch.tensor([2.0, 5.0]),
        logps=torch.tensor([[-1.0, -2.0, 0.0], [-0.5, 0.0, 0.0]]),
        reference_logps=torch.tensor([[-3.0, -1.0, 7.0], [-0.5, 7.0, 7.0]]),
        mask=torch.tensor([[1, 1, 0], [1, 0, 0]]),
        kl_coef=0.1,
    )
    assert rewards.flatten().tolist() == pytest.approx([-0.2, 2.1, 0.0, 5.0, 0.0, 0.0])


def test_the_rewards_of_a_completion_sum_to_its_score_less_its_weighted_kl():
    torch.manual_seed(0)
    logps, reference, mask = (
        torch.randn(3, 5),
        torch.randn(3, 5),
        torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [1] + [0] * 4]),
    )
    total = token_rewards(torch.tensor([1.0, 2.0, 3.0]), logps, reference, mask, 0.05).sum(1)
    kl = ((logps - reference) * mask).sum(1)
    assert torch.allclose(total, torch.tensor([1.0, 2.0, 3.0]) - 0.05 * kl)


def test_an_empty_completion_is_an_error():
    with pytest.raises(ValueError, match="without tokens"):
        token_rewards(torch.ones(1), torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2), 0.1)


def test_a_group_is_compared_with_the_mean_of_its_other_members():
    found = group_advantages(torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, 3.0]), 3)
    assert found.tolist() == pytest.approx([-3.0, -1.5, 4.5, -1.5, -1.5, 3.0])


def test_whitening_sees_only_what_the_mask_shows():
    values, mask = torch.tensor([[1.0, 3.0, 99.0], [5.0, -99.0, 99.0]]), torch.tensor([[1, 1, 0], [1, 0, 0]])
    white = whiten(values, mask)
    spread = math.sqrt(8 / 3)
    assert white.flatten().tolist() == pytest.approx([-2 / spread, 0, 0, 2 / spread, 0, 0], abs=1e-6)


def test_two_ranks_whiten_as_one():
    torch.manual_seed(1)
    values, mask = torch.randn(4, 6), (torch.rand(4, 6) > 0.3).long()
    other, other_mask = values[2:], mask[2:]
    whole = whiten(values, mask)

    inside = values[mask.bool()]
    totals = iter([torch.stack([mask.sum().float(), inside.sum()]), ((inside - inside.mean()) ** 2).sum()])
    assert torch.allclose(whiten(other, other_mask, reduce=lambda sums: next(totals)), whole[2:], atol=1e-6)


def reference_policy_loss(logp, old, advantage, clip):
    ratio = math.exp(logp - old)
    return max(-advantage * ratio, -advantage * min(max(ratio, 1 - clip), 1 + clip))


def reference_value_loss(value, old, target, clip):
    near = old + min(max(value - old, -clip), clip)
    return 0.5 * max((value - target) ** 2, (near - target) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_clipped_losses_equal_plain_python(seed):
    torch.manual_seed(seed)
    a, b, c = torch.randn(3, 3, 4, dtype=torch.float64)
    policy, _ = policy_loss(a, b, c, 0.2)
    value, _ = value_loss(a, b, c, 0.3)
    for i in range(3):
        for j in range(4):
            numbers = [x[i, j].item() for x in (a, b, c)]
            assert policy[i, j].item() == pytest.approx(reference_policy_loss(*numbers, 0.2))
            assert value[i, j].item() == pytest.approx(reference_value_loss(*numbers, 0.3))


def test_a_ratio_that_left_the_clip_range_on_the_good_side_gives_no_gradient():
    logps = torch.tensor([[0.5, -0.5, 0.5, 0.1]], requires_grad=True)
    loss, clipped = policy_loss(logps, torch.zeros(1, 4), torch.tensor([[1.0, -1.0, -1.0, 1.0]]), clip=0.2)
    loss.sum().backward()
    assert clipped.tolist() == [[True, True, False, False]]
    assert [bool(g) for g in logps.grad[0]] == [False, False, True, True]


def test_explained_variance_is_one_for_perfect_and_zero_for_constant_values():
    returns, mask = torch.tensor([[1.0, 2.0, 4.0, 50.0]]), torch.tensor([[1, 1, 1, 0]])
    assert explained_variance(returns, returns, mask).item() == 1
    assert explained_variance(torch.full_like(returns, 3.0), returns, mask).item() == pytest.approx(0)
