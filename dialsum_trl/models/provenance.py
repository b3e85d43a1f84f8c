"""Where a base model came from: its Hub repository and commit, also when it was loaded from a local folder."""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from dialsum_trl.models.families.registry import named_like

_CACHED = re.compile(r"models--(?P<repo>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Origin:
    """Where a base model came from.

    `repo_id` is None for a folder that says nothing about its source, `commit` is None where it is not known, and
    `loads_by_name` tells whether `repo_id` gives the same model on this machine.
    """

    repo_id: str | None
    commit: str | None
    loads_by_name: bool


def base_origin(name_or_path: str, revision: str = "main") -> Origin:
    """Repository and commit of a base model, without a network.

    A folder is recognized when it is a snapshot of the Hub's cache, or bears the name of a listed one
    (`Qwen2.5-7B-Instruct`, `Qwen--Qwen2.5-7B-Instruct`, `Qwen/Qwen2.5-7B-Instruct`); folders written by
    `hf download --local-dir` also keep their commit.
    """
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        commit = revision if COMMIT.fullmatch(revision) else cached_commit(name_or_path, revision)
        return Origin(name_or_path, commit, loads_by_name=True)
    if cached := _CACHED.search(folder.resolve().as_posix()):
        repo_id, commit = cached["repo"].replace("--", "/", 1), cached["commit"]
        return Origin(repo_id, commit, loads_by_name=cached_commit(repo_id, commit) == commit)
    listed = named_like(folder.resolve().name)
    return Origin(listed and listed.repo_id, _downloaded_commit(folder), loads_by_name=False)


def cached_commit(repo_id: str, revision: str) -> str | None:
    """The commit that the Hub's local cache holds for a revision, or None."""
    folder = cached_folder(repo_id, revision)
    return folder and folder.name


def cached_folder(repo_id: str, revision: str) -> Path | None:
    """The snapshot that the Hub's local cache holds for a revision, or None."""
    try:
        path = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(path).parent if isinstance(path, str) else None


def _downloaded_commit(folder: Path) -> str | None:
    record = folder / ".cache/huggingface/download/config.json.metadata"
    if not record.is_file():
        return None
    first = record.read_text(encoding="utf-8").split("\n")[0].strip()
    return first if COMMIT.fullmatch(first) else None
