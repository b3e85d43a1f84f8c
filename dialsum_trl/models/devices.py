"""The dtype of a model, and that the GPUs of this machine can compute in."""

import torch

from dialsum_trl.core.cards import has_bfloat16, usable_dtype
from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.models.base import load_config


def own_dtype(name_or_path: str, revision: str = "main", trust_remote_code: bool = False) -> str:
    """What `--dtype auto` is: "float16" for weights in float16, else "bfloat16"."""
    own = load_config(name_or_path, revision, trust_remote_code).get_text_config().dtype
    return "float16" if own == torch.float16 else "bfloat16"


def dtype_here(dtype: str, asked: bool) -> str:
    """`dtype`, or "float16" and a line that says so where a visible GPU has no bfloat16.

    Args:
        asked: whether the user named it, rather than a recipe or an adapter.
    """
    if dtype != "bfloat16" or (index := _without_bfloat16()) is None:
        return dtype
    capability = torch.cuda.get_device_capability(index)
    usable = usable_dtype(dtype, capability)
    card = "{} (compute capability {}.{}) has no bfloat16".format(torch.cuda.get_device_name(index), *capability)
    if asked:
        raise InputError(f"--dtype {dtype}: {card}: leave it out (float16 is taken), or give float32")
    say(f"{usable} for {dtype}: {card}; adapters stay in float32, gradients are scaled")
    return usable


def wide_dtype() -> str:
    """What to use where float16 overflows: bfloat16, or float32 where a visible GPU has none."""
    return "bfloat16" if _without_bfloat16() is None else "float32"


def _without_bfloat16() -> int | None:
    """The first visible GPU that does not compute in bfloat16."""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return None
    capabilities = map(torch.cuda.get_device_capability, range(torch.cuda.device_count()))
    return next((index for index, each in enumerate(capabilities) if not has_bfloat16(each)), None)
