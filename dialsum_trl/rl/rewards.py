"""Rewards that need no model, for PPO and GRPO: each is between 0 and 1.

They have TRL's reward signature: `completions` (texts, or messages with one assistant turn), the columns of the rows
(`dialogue`, `summaries`) and `completion_ids` are keyword arguments; one float per completion is returned.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module

from dialsum_trl.core.errors import InputError
from dialsum_trl.metrics.qualities import hangul_share, length_band, mask_fidelity, no_repetition, texts
from dialsum_trl.metrics.rouge import RougeConfig, row_means


def rouge_reward(config=None):
    """ROUGE as a reward: the mean of ROUGE-1, -2 and -L F1 against the references, 0 to 1.

    Args:
        config: a `rouge.RougeConfig`; None is its default (morphemes, mean over the references).
    """
    config = config or RougeConfig()

    def rouge(completions, summaries, **kwargs) -> list[float]:
        return row_means(texts(completions), summaries, config)

    return rouge


def end_of_turn_reward(stop_ids: list[int]):
    """1 for a completion whose last token is in `stop_ids`, 0 for one that was cut by the token limit."""

    def end_of_turn(completion_ids, **kwargs) -> list[float]:
        return [float(bool(ids) and ids[-1] in stop_ids) for ids in completion_ids]

    return end_of_turn


NAMES = ("rouge", "length_band", "mask_fidelity", "no_repetition", "hangul_share", "end_of_turn")


def reward_functions(names: list[str], rouge_config, stop_ids: list[int]) -> list[Callable]:
    """The functions of `--reward_functions`, in the order of `names`.

    A name with a dot is your own function, `my_rewards.politeness` for a file my_rewards.py in the working
    directory, or any function that Python can import; it has TRL's reward signature (see above).

    Raises:
        InputError: a name that is not in `NAMES` and cannot be imported, or one given twice.
    """
    if len(set(names)) < len(names):
        raise InputError(f"--reward_functions {' '.join(names)}: a name is given twice; use --reward_weights instead")
    known = {f.__name__: f for f in (length_band, mask_fidelity, no_repetition, hangul_share)}
    known |= {"rouge": rouge_reward(rouge_config), "end_of_turn": end_of_turn_reward(stop_ids)}
    return [known[name] if name in known else imported(name) for name in names]


def imported(name: str) -> Callable:
    """The function of a dotted name."""
    module, _, function = name.rpartition(".")
    if not module:
        raise InputError(f"--reward_functions {name}: must be of {', '.join(NAMES)}, or module.function for your own")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # the recipe's folder is on the path already, the user's is not
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"--reward_functions {name}: {error}; give module.function of a file that is here") from None
    if not callable(found):
        raise InputError(f"--reward_functions {name}: is no function")
    return found
