"""The numbers that flags take: one table for every stage and command, read where the settings are merged.

An interval stands as in mathematics: [0, 1) holds 0 and not 1. It serves whichever stage or trainer has the flag. A
flag that is left at its default is not looked at: trainers have defaults such as -1 for "not set".
"""

import math

from dialsum_trl.core.errors import InputError

INTERVALS = {
    "[1, inf)": (
        *("lora_r", "lora_alpha", "effective_batch_size", "per_device_train_batch_size", "per_device_eval_batch_size"),
        *("gradient_accumulation_steps", "max_steps", "rouge_max_new_tokens", "max_new_tokens", "num_beams"),
        *("batch_size", "num_return_sequences", "max_length", "save_every", "max_source_length", "max_target_length"),
        *("rollout_batch_size", "num_mini_batches", "ppo_epochs", "num_generations", "max_completion_length"),
        *("steps_per_generation", "generation_batch_size", "trials"),
    ),
    "[0, inf)": (
        *("bootstrap", "rouge_rows", "no_repeat_ngram_size", "warmup_steps", "weight_decay", "dataloader_num_workers"),
        *("eval_delay", "beta", "kl_coef", "missing_end_penalty", "length_tolerance"),
    ),
    "(0, inf)": (
        *("learning_rate", "critic_learning_rate", "num_train_epochs", "save_steps", "eval_steps", "logging_steps"),
        *("memory_gib", "adam_epsilon", "temperature", "repetition_penalty", "value_clip", "epsilon"),
    ),
    # inf, or a share above 1: no clipping, no tripwire
    "[0, inf]": ("max_grad_norm", "max_rouge_drop", "max_truncated", "kl_target"),
    "[0, 1)": ("adam_beta1", "adam_beta2", "label_smoothing_factor", "held_out"),
    "[0, 1]": ("lora_dropout", "gamma", "lam", "margin"),
    "(0, 1]": ("top_p",),
    "(-inf, inf)": ("length_penalty", "reward_model_weight"),
    "[0, 4294967295]": ("seed", "data_seed"),  # NumPy's generators take no other
}
BOUNDS = {name: interval for interval, names in INTERVALS.items() for name in names}


def check_numbers(values: dict, defaults: dict | None = None) -> None:
    """Checks every number of a namespace that has bounds; lists by their items.

    Args:
        values: flag -> value.
        defaults: flag -> the value that is not looked at.

    Raises:
        InputError: a number is out of its bounds, or not a number (nan).
    """
    for name, value in values.items():
        if value is None or (defaults and value == defaults.get(name)):
            continue
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if math.isnan(number):
                raise InputError(f"--{name} {number}: is not a number; give one, or leave --{name} out")
            if name in BOUNDS and not _within(number, BOUNDS[name]):
                raise InputError(f"--{name} {number}: must be {_words(BOUNDS[name], number)}")


def _ends(interval: str) -> tuple[float, float]:
    low, high = interval[1:-1].split(", ")
    return float(low), float(high)


def _within(number: float, interval: str) -> bool:
    low, high = _ends(interval)
    above = number >= low if interval[0] == "[" else number > low
    return above and (number <= high if interval[-1] == "]" else number < high)


def _words(interval: str, number: float) -> str:
    """An interval in words that say what is wrong with `number`: `at least 0 and below 1`."""
    low, high = _ends(interval)
    words = [f"{'at least' if interval[0] == '[' else 'above'} {low:.0f}"] if math.isfinite(low) else []
    words += [f"{'at most' if interval[-1] == ']' else 'below'} {high:.0f}"] if math.isfinite(high) else []
    words += ["finite"] if math.isinf(number) and math.isinf(high) else []
    return " and ".join(words)
