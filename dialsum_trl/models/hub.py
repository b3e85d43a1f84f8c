"""Files and adapters of the Hub or its cache."""

import difflib
from pathlib import Path

import httpx2
from huggingface_hub import errors, snapshot_download
from transformers.utils import cached_file

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.file_names import CONFIG, PICKLE, RUN_FILE, WEIGHTS
from dialsum_trl.models.files import TRUSTED

# what a tokenizer consists of, beside an adapter
TOKENIZER = ("*token*.json", "chat_template.*", "vocab.*", "merges.txt", "*.model")


def hub_file(name: str, file: str, revision: str) -> Path | None:
    """A file of a folder or a Hub repository, from the Hub's cache or downloaded; None where there is none.

    Raises:
        OSError: there is no such repository or revision.
    """
    quiet = dict.fromkeys(("gated_repo", "missing_entries", "connection_errors"), False)
    quiet = {f"_raise_exceptions_for_{what}": value for what, value in quiet.items()}
    path = cached_file(name, file, revision=revision, **quiet)
    return path and Path(path)


def adapter_folder(adapter_path: str | Path, flag: str = "--adapter_path") -> Path:
    """The folder of an adapter; of a Hub id the one in the Hub's cache, where what is read of it is downloaded.

    Raises:
        InputError: neither the Hub nor its cache gives it, or it has no safetensors there.
    """
    if Path(adapter_path).is_dir():
        return Path(adapter_path)
    try:
        folder = Path(snapshot_download(str(adapter_path), allow_patterns=[CONFIG, WEIGHTS, RUN_FILE, *TOKENIZER]))
    except (OSError, errors.HFValidationError, httpx2.HTTPError) as error:
        raise InputError(
            f"{flag} {adapter_path}: no such folder{similar(Path(adapter_path))}, and the Hub does not give it "
            f"({_hub_reason(error)}): give the folder that training wrote, or the Hub id of an adapter"
        ) from None
    if (folder / CONFIG).exists() and not (folder / WEIGHTS).exists():
        raise InputError(
            f"{flag} {adapter_path}: has no {WEIGHTS} on the Hub; a pickle ({PICKLE}) can run code, only safetensors "
            f"are read: {TRUSTED}"
        )
    return folder


def similar(missing: Path) -> str:
    """A hint at an adapter of a similar name, or at any, beside a folder that is not there; may be empty."""
    parent = missing.parent
    names = [path.name for path in sorted(parent.glob("*")) if (path / CONFIG).is_file()] if parent.is_dir() else []
    close = difflib.get_close_matches(missing.name, names, n=1) or names[:1]
    return f" (there is {parent / close[0]})" if close else ""


def _hub_reason(error: Exception) -> str:
    """Why the Hub did not give a repository, in a few words."""
    reasons = {  # the first that fits: a gated repository counts as not found too
        errors.GatedRepoError: "it is gated; HF_TOKEN must have been granted access",
        errors.RepositoryNotFoundError: "no such repository, or a private one without HF_TOKEN",
        errors.LocalEntryNotFoundError: "not in the cache, and the Hub cannot be reached or HF_HUB_OFFLINE is set",
        errors.HFValidationError: "this is no owner/name",
    }
    return next((words for kind, words in reasons.items() if isinstance(error, kind)), type(error).__name__)
