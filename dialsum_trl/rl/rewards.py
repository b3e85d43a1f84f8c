"""Rewards that need no model, for PPO and GRPO: each is between 0 and 1.

They have TRL's reward signature: `completions` (texts, or messages with one assistant turn), the columns of the rows
(`dialogue`, `summaries`) and `completion_ids` come as keyword arguments, one float a completion goes back.
"""

from dialsum_trl.core.errors import InputError
from dialsum_trl.metrics.qualities import hangul_share, length_band, mask_fidelity, no_repetition, texts


def rouge_reward(config=None):
    """ROUGE as a reward: the mean of ROUGE-1, -2 and -L F1 against the references, 0 to 1.

    Args:
        config: a `rouge.RougeConfig`; None is its default (morphemes, mean over the references).
    """
    from dialsum_trl.metrics.rouge import RougeConfig, score

    config = config or RougeConfig()

    def rouge(completions, summaries, **kwargs) -> list[float]:
        report = score(texts(completions), summaries, config, bootstrap=0, floor_line=None)
        return (report.per_row.mean(axis=1) / 100).tolist()

    return rouge


def end_of_turn_reward(stop_ids: list[int]):
    """1 for a completion whose last token is in `stop_ids`, 0 for one that was cut by the token limit."""

    def end_of_turn(completion_ids, **kwargs) -> list[float]:
        return [float(bool(ids) and ids[-1] in stop_ids) for ids in completion_ids]

    return end_of_turn


NAMES = ("rouge", "length_band", "mask_fidelity", "no_repetition", "hangul_share", "end_of_turn")


def reward_functions(names: list[str], rouge_config, stop_ids: list[int]) -> list:
    """The functions behind `--reward_functions`, in the order of `names`.

    Raises:
        InputError: a name that is none of `NAMES`, or twice the same.
    """
    plain = {f.__name__: f for f in (length_band, mask_fidelity, no_repetition, hangul_share)}
    for name in names:
        if name not in NAMES:
            raise InputError(f"--reward_functions {name}: must be of {', '.join(NAMES)}")
    if len(set(names)) < len(names):
        raise InputError(f"--reward_functions {' '.join(names)}: a name stands twice; use --reward_weights instead")
    return [
        rouge_reward(rouge_config) if n == "rouge" else end_of_turn_reward(stop_ids) if n == "end_of_turn" else plain[n]
        for n in names
    ]
