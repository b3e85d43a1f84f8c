"""PPO's arithmetic as pure functions of tensors (Schulman et al. 2017; Ziegler et al. 2019, arXiv:1909.08593).

Shapes: `(B, T)` tokens of B completions, padded on the right; `mask` is 1 on a completion's tokens (its end-of-turn
token included) and 0 on padding. Position t of `values` is the critic's estimate before token t is chosen.
"""

import torch


def token_rewards(scores, logps, reference_logps, mask, kl_coef: float):
    """The reward of each token: minus `kl_coef` times its KL estimate, and the score on the last token.

    Args:
        scores: `(B,)` reward of each completion.
        logps, reference_logps: `(B, T)` log-probabilities (nats) under the policy that sampled and the reference.

    Returns:
        `(B, T)`; summed over a row: `score - kl_coef * sum(logp - reference_logp)`.
    """
    rewards = -kl_coef * (logps - reference_logps) * mask
    last = mask.sum(1).long() - 1
    if (last < 0).any():
        raise ValueError("a completion without tokens has no last token to reward")
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


def gae(rewards, values, mask, gamma: float, lam: float):
    """Generalized advantage estimation (arXiv:1506.02438); a completion's last token ends its episode.

    Returns:
        `(B, T)` advantages and `(B, T)` returns (advantages + values), both 0 on padding.
    """
    advantages = torch.zeros_like(rewards)
    following, next_value = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        inside = mask[:, t].to(rewards.dtype)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * inside
        next_value = values[:, t] * inside
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def group_advantages(totals, group: int):
    """What each completion's reward is above the mean of the others of its prompt (RLOO, arXiv:2402.14740).

    Args:
        totals: `(B,)` rewards, KL included; the completions of a prompt follow one another.
        group: completions per prompt, 2 or more.
    """
    rows = totals.view(-1, group)
    return ((rows - rows.mean(1, keepdim=True)) * group / (group - 1)).flatten()


def whiten(values, mask, reduce=lambda sums: sums):
    """Zero mean and unit variance over the masked entries; padding becomes 0.

    Args:
        reduce: sums a small tensor over all processes, so that every rank whitens with the same mean and variance.
    """
    count, total = reduce(torch.stack([mask.sum().to(values.dtype), (values * mask).sum()]))
    mean = total / count
    variance = reduce((((values - mean) * mask) ** 2).sum()) / count
    return (values - mean) * mask * torch.rsqrt(variance + 1e-8)


def policy_loss(logps, old_logps, advantages, clip: float):
    """Clipped surrogate loss of each token, and whether the clip decided it; both `(B, T)`."""
    ratio = torch.exp(logps - old_logps)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(plain, clipped), clipped > plain


def value_loss(values, old_values, returns, clip: float):
    """Half the squared error of each value, clipped around the old, and whether the clip decided it; both `(B, T)`."""
    near = old_values + (values - old_values).clamp(-clip, clip)
    plain, clipped = (values - returns) ** 2, (near - returns) ** 2
    return 0.5 * torch.maximum(plain, clipped), clipped > plain


def explained_variance(values, returns, mask) -> torch.Tensor:
    """`1 - var(returns - values) / var(returns)` over the masked entries: 1 is perfect, 0 as good as a constant."""
    inside = mask.bool()
    return 1 - (returns - values)[inside].var(correction=0) / returns[inside].var(correction=0).clamp(min=1e-8)
