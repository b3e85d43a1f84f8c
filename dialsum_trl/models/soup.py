"""Adapter soup: one adapter whose weights are the mean of several fine-tuned from the same start.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time" (ICML 2022). LoRA's A and B are averaged each by itself, which is near the mean of the updates only for
adapters that share their start (seeds, learning rates or checkpoints continued from one adapter).
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity

from dialsum_trl.core.console import is_main_process
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import folder_aside, write_json
from dialsum_trl.models.file_names import MANIFEST, RUN_FILE, SETTINGS_FILE, WEIGHTS
from dialsum_trl.models.files import check_adapter_files, tensor_shapes
from dialsum_trl.models.record import read_record

_KEPT_SUFFIXES = (".json", ".jinja", ".model", ".txt")  # configuration, tokenizer and template
_OF_A_RUN = {"trainer_state.json", MANIFEST, SETTINGS_FILE, "ppo_state.json", "best.json"}  # and of its weights alone
# what has to be equal for a mean of weights to mean anything
_FIELDS = (
    "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "target_modules", "rank_pattern",
    "alpha_pattern", "use_rslora", "use_dora", "bias", "fan_in_fan_out", "modules_to_save", "layers_to_transform",
)  # fmt: skip

# Mean cosine of lora_A below which two adapters do not share their start. On the toy: 0.01 for two seeds; at a learning
# rate 40 times the recipes' 0.82 for two continued from one adapter, and 0.52 for one first draw under two schedules.
SAME_START = 0.3


def soup(adapters: list[str | Path], output: str | Path, weights: list[float] | None = None) -> Path:
    """Writes the weighted mean of saved LoRA adapters as a new adapter folder.

    Sums are kept in float64 and rounded once to the adapters' dtype, so that the soup of an adapter with itself is
    itself. Other files (tokenizer, template, run record without its scores) come from the first adapter.

    Args:
        adapters: folders with `adapter_config.json` and `adapter_model.safetensors`.
        output: folder to make; written aside, then renamed. It must not exist yet.
        weights: one per adapter, on any scale; default: all alike.

    Raises:
        InputError: a folder is no safetensors adapter, adapters differ (the message says in what), or `output` exists.
    """
    folders, output, shares = _checked(adapters, output, weights)
    kept = [path for path in folders[0].iterdir() if path.suffix in _KEPT_SUFFIXES and path.name not in _OF_A_RUN]
    total, dtypes = {}, {}
    for folder, share in zip(folders, shares, strict=True):
        for name, tensor in load_file(folder / WEIGHTS).items():
            dtypes.setdefault(name, tensor.dtype)
            part = tensor.double() * share
            total[name] = total[name] + part if name in total else part
    rounded = {name: tensor.to(dtypes[name]) for name, tensor in total.items()}
    with folder_aside(output) as partial:
        for file in kept:
            shutil.copy2(file, partial / file.name)
        save_file(rounded, partial / WEIGHTS, {"format": "pt"})
        _write_record(partial, folders, shares)
    return output


def greedy_soup(
    adapters: list[str | Path], output: str | Path, dev_score: Callable[[Path], float]
) -> tuple[list[Path], float]:
    """Adds adapters best first and keeps each whose soup does not score lower (the paper's greedy soup).

    On several processes all call it, and the first one writes.

    Args:
        dev_score: score of an adapter folder on dev rows, higher is better, the same on all processes; called once for
            each adapter and once for each trial soup. It waits for the process that writes, and for all to have read.

    Returns:
        The adapters in the soup and its dev score.

    Raises:
        InputError: as `soup`.
    """
    folders, output, _ = _checked(adapters, output, None)
    scores = {folder: dev_score(folder) for folder in folders}
    ranked = sorted(scores, key=scores.get, reverse=True)
    kept, best = ranked[:1], scores[ranked[0]]
    trial = output.with_name(f".{output.name}.trial")
    for folder in ranked[1:]:
        if is_main_process():
            shutil.rmtree(trial, ignore_errors=True)
            soup([*kept, folder], trial)
        found = dev_score(trial)
        if found >= best:
            kept, best = [*kept, folder], found
    if is_main_process():
        shutil.rmtree(trial, ignore_errors=True)
        soup(kept, output)
    return kept, best


def check_compatible(folders: list[Path]) -> None:
    """Raises InputError, saying what differs, unless the adapters can be averaged."""
    found = [(check_adapter_files(folder, "--adapter_paths"), tensor_shapes(folder / WEIGHTS)) for folder in folders]
    for folder, other in zip(folders[1:], found[1:], strict=True):
        pair = f"{folders[0]} and {folder} cannot be averaged"
        if differences := _differences(found[0], other):
            raise InputError(f"{pair}: {'; '.join(differences)}")
        if (cosine := start_cosine(folders[0], folder)) < SAME_START:
            raise InputError(
                f"{pair}: they do not share their start (mean cosine of lora_A {cosine:.2f}, under {SAME_START}); "
                "train one adapter and continue the others from it with --adapter_path, or take the consensus "
                "of their summaries with --prediction_files"
            )


def start_cosine(left: Path, right: Path) -> float:
    """Mean cosine of the lora_A of two adapters of the same shapes: about 0 for two random draws, 1 for equal ones.

    A is drawn at random and B starts at 0, so the A of a run stays near its draw; 1 for adapters without any.
    """
    with safe_open(left / WEIGHTS, "pt") as one, safe_open(right / WEIGHTS, "pt") as other:
        names = [name for name in one.keys() if "lora_A" in name]  # noqa: SIM118
        pairs = ((one.get_tensor(name).double().flatten(), other.get_tensor(name).double().flatten()) for name in names)
        found = [cosine_similarity(a, b, dim=0).item() for a, b in pairs]
    return sum(found) / len(found) if found else 1.0


def _differences(left: tuple[dict, dict], right: tuple[dict, dict]) -> list[str]:
    (config, shapes), (other_config, other_shapes) = left, right
    found = []
    for field in _FIELDS:
        one, other = (_comparable(values.get(field)) for values in (config, other_config))
        if one != other:
            found.append(f"{field} is {one} and {other}")
    if only := sorted(shapes.keys() ^ other_shapes.keys()):
        found.append(f"{len(only)} tensors are in one alone, such as {only[0]}")
    if unlike := [name for name in shapes if name in other_shapes and shapes[name] != other_shapes[name]]:
        found.append(f"{unlike[0]} has shapes {shapes[unlike[0]]} and {other_shapes[unlike[0]]}")
    return found


def _comparable(value: object) -> object:
    return sorted(value) if isinstance(value, list) else (value or None)


def _checked(adapters: list, output: str | Path, weights: list[float] | None) -> tuple[list[Path], Path, list[float]]:
    """The folders, the output and the share of each adapter, when a soup can be made of them."""
    folders, output = [Path(adapter) for adapter in adapters], Path(output)
    weights = [1.0] * len(folders) if weights is None else weights
    if not folders:
        raise InputError("no adapters to average; name two or more folders")
    if len(weights) != len(folders):
        raise InputError(f"{len(weights)} weights for {len(folders)} adapters; give one each")
    if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise InputError(f"weights {weights} must be finite, 0 or more, and not all 0")
    if output.exists():
        raise InputError(f"{output} exists; choose another folder (nothing is ever overwritten)")
    check_compatible(folders)
    return folders, output, [weight / sum(weights) for weight in weights]


def _write_record(output: Path, folders: list[Path], shares: list[float]) -> None:
    """The first adapter's run record tells how to load the soup; its scores and data are not the soup's."""
    record = read_record(folders[0])
    if not record:
        return
    record |= {"method": "adapter soup", "metrics": {}, "evaluation": None}
    record["soup"] = [{"adapter": folder.name, "weight": share} for folder, share in zip(folders, shares, strict=True)]
    write_json(output / RUN_FILE, record)
