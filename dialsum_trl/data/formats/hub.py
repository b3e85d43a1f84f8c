"""Datasets of the Hugging Face Hub, named `hub:<dataset>[:[<configuration>:]<split>]`."""

from collections.abc import Iterator

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.formats.row import Row

HUB = "hub:"


def hub_rows(source: str) -> Iterator[Row]:
    """Rows of a split, `train` by default."""
    from datasets import load_dataset  # a second, with pandas, that `check` and `score` do not need

    name, *parts = source.removeprefix(HUB).split(":")
    if not name or len(parts) > 2:
        raise InputError(f"'{source}' names no dataset; write hub:<dataset>[:[<configuration>:]<split>]")
    split, configuration = parts[-1] if parts else "train", parts[0] if len(parts) == 2 else None
    try:
        rows = load_dataset(name, configuration or None, split=split or "train")
    except ConnectionError as error:
        raise InputError(
            f"{source}: the Hugging Face Hub cannot be reached ({_first_line(error)}); "
            "check the network, or give a .csv or .jsonl file"
        ) from None
    except (OSError, ValueError) as error:  # not found or not allowed; no such split or several configurations
        first, *more = str(error).strip().split("\n")
        if first.startswith("Config name is missing") and more:
            first = (
                f"has several configurations, {more[0].partition(': ')[2]}: name one with --dataset_config, or in "
                "hub:<dataset>:<configuration>:<split>"
            )
        raise InputError(f"{source}: {first[:300]}") from None
    for number, values in enumerate(rows, start=1):
        yield Row(number, 0, values)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
