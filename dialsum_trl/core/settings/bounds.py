"""The numbers that flags take. Our own flags have their bounds in their field; those of trainers' fields are here.

An interval is written as in mathematics: [0, 1) holds 0 and not 1. A flag that is left at its default is not looked at:
trainers have defaults such as -1 for "not set".
"""

import math
from collections.abc import Iterable
from dataclasses import fields

from dialsum_trl.core.errors import InputError

COUNT, AT_LEAST_0, POSITIVE = "[1, inf)", "[0, inf)", "(0, inf)"
SHARE, BELOW_1 = "[0, 1]", "[0, 1)"
SEEDS = "[0, 4294967295]"  # NumPy's generators take no other
TRAINERS = {  # fields of transformers' and TRL's configurations
    COUNT: (
        *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "max_steps"),
        *("num_generations", "max_completion_length", "steps_per_generation", "generation_batch_size", "max_length"),
    ),
    AT_LEAST_0: ("warmup_steps", "weight_decay", "dataloader_num_workers", "eval_delay", "beta"),
    POSITIVE: (
        *("learning_rate", "num_train_epochs", "save_steps", "eval_steps", "logging_steps", "adam_epsilon"),
        *("temperature", "repetition_penalty", "epsilon"),
    ),
    "[0, inf]": ("max_grad_norm",),  # inf: no clipping
    BELOW_1: ("adam_beta1", "adam_beta2", "label_smoothing_factor"),
    "(0, 1]": ("top_p",),
    SEEDS: ("seed", "data_seed"),
}


def bounds_of(groups: Iterable[type]) -> dict[str, str]:
    """Flag -> interval, of the fields of dataclasses and of the trainers' configurations."""
    bounds = {name: interval for interval, names in TRAINERS.items() for name in names}
    own = {
        item.name: item.metadata["bounds"] for group in groups for item in fields(group) if "bounds" in item.metadata
    }
    return bounds | own


def check_numbers(values: dict, bounds: dict[str, str], defaults: dict | None = None) -> None:
    """Checks every number of the settings; lists by their items.

    Args:
        values: flag -> value.
        bounds: flag -> interval.
        defaults: flag -> the value that is not looked at.

    Raises:
        InputError: a number is out of its bounds, or not a number (nan).
    """
    for name, value in values.items():
        if value is None or (defaults and value == defaults.get(name)):
            continue
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                check_number(name, number, bounds.get(name))


def check_number(name: str, number: float, interval: str | None) -> None:
    """Raises InputError unless the number of flag `name` is in `interval` (None: any number)."""
    if math.isnan(number):
        raise InputError(f"--{name} {number}: is not a number; give one, or leave --{name} out")
    if not interval:
        return
    low, high = map(float, interval[1:-1].split(", "))
    closed = interval[0] == "[", interval[-1] == "]"
    if low < number < high or (number == low and closed[0]) or (number == high and closed[1]):
        return
    words = [f"{'at least' if closed[0] else 'above'} {low:.0f}"] if math.isfinite(low) else []
    words += [f"{'at most' if closed[1] else 'below'} {high:.0f}"] if math.isfinite(high) else []
    words += ["finite"] if math.isinf(number) and math.isinf(high) else []
    raise InputError(f"--{name} {number}: must be {' and '.join(words)}")
