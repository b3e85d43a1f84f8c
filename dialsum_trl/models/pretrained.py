"""Loading a model, with its many ways to fail: each is one line that names the flag or the recipe to use."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PretrainedConfig

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.files import check_model_files

NO_SAFETENSORS = (
    "holds no safetensors weights; pickles (pytorch_model.bin) are refused, for they can run code. A pull request of "
    "the Hub's converter, if there is one, is loaded with --model_revision refs/pr/N; else see docs/troubleshooting.md"
)


def load(loader: Callable, name_or_path: str, what: str, trust_remote_code: bool = False, **kwargs):
    """What `loader`, a `from_pretrained`, returns.

    Args:
        what: "configuration", "tokenizer" or "weights".
        kwargs: passed on.

    Raises:
        InputError: whatever the loader raises, but for a full GPU, in one line.
    """
    check_exists(name_or_path)
    if Path(name_or_path).is_dir() and (what != "tokenizer" or (Path(name_or_path) / "config.json").exists()):
        check_model_files(name_or_path)
    try:
        return loader(name_or_path, trust_remote_code=trust_remote_code, **kwargs)
    except (torch.OutOfMemoryError, InputError):
        raise
    except OSError as error:
        if "model.safetensors" in str(error):
            raise InputError(f"{name_or_path}: {NO_SAFETENSORS}") from error
        raise InputError(
            f"cannot load the {what} of {name_or_path}: {reason(error)} Give a local folder or a Hub id that this "
            f"machine can reach (gated models need HF_TOKEN in the environment)"
        ) from error
    except Exception as error:  # on damaged files it raises whatever Python and tokenizers' Rust raise
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{name_or_path}: brings Python files of its own, which are not run; where you trust them, "
                f"add --trust_remote_code true"
            ) from error
        attention = kwargs.get("attn_implementation")
        if attention and (isinstance(error, ImportError) or "attn_implementation" in str(error)):
            raise InputError(
                f"--attn_implementation {attention}: transformers cannot use it ({reason(error)}): leave it out (the "
                f"fast path chooses), or give eager or sdpa"
            ) from error
        raise InputError(
            f"cannot load the {what} of {name_or_path}: {reason(error)} If its files are damaged, get them again"
        ) from error


def check_exists(name_or_path: str) -> None:
    """Raises InputError if a name that looks like a path, not like a Hub id, is no folder."""
    place = Path(name_or_path)
    if place.is_dir() or not (name_or_path.startswith(("/", ".", "~")) or name_or_path.count("/") > 1):
        return
    if place.expanduser().is_dir():
        raise InputError(f"{name_or_path}: the ~ was not replaced by the shell; give {place.expanduser()}")
    what = "is a file" if place.is_file() else "no such folder"
    raise InputError(f"{name_or_path}: {what}; give the folder of a model, or a Hub id (owner/name)")


def reason(error: Exception) -> str:
    """What an error of a library says, in one short line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def check_kind(config: PretrainedConfig, name_or_path: str, encoder_decoder: bool) -> None:
    """Raises InputError that names the right recipe unless the model is an encoder-decoder, or a decoder, as wanted.

    Loaded as the other kind it would lack weights, or transformers would know no class for it.
    """
    kind = config.model_type
    if config.is_encoder_decoder and not encoder_decoder:
        raise InputError(
            f"--model_name_or_path {name_or_path}: is an encoder-decoder ({kind}) where a decoder is wanted: "
            f"recipes/seq2seq_kobart.py trains encoder-decoders"
        )
    if encoder_decoder and not config.is_encoder_decoder:
        raise InputError(
            f"--model_name_or_path {name_or_path}: is a decoder ({kind}) where an encoder-decoder is wanted: the "
            f"recipes/sft_*.py train decoders"
        )
