"""Files to one Hub repository in one commit; broken connections are tried again, and what arrived is compared."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import logging, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError

WAITS = (2, 8, 30)  # seconds before the second, third and fourth attempt
TIMEOUT = 120  # seconds without a byte before a request counts as broken; the client's own default is never
Result = TypeVar("Result")
TRANSIENT = (408, 409, 412, 429, 500, 502, 503, 504)  # 409, 412: another commit came in between


def upload(files: dict[str, bytes | Path], repo_id: str, private: bool = True) -> tuple[str, bool]:
    """Creates the repository where it is missing and commits `files` to its main branch.

    A file that has arrived is not sent again, neither by a later attempt nor by a later call.

    Args:
        files: path in the repository -> content or local file.
        repo_id: `owner/name`, or `name` for the owner of the token.
        private: a public repository is refused then.

    Returns:
        The full repository id, and whether the repository is private.

    Raises:
        InputError: no token, no permission, the Hub cannot be reached, or a public repository where a private one was
            asked for.
    """
    require_token()
    with _impatient_client():
        api = HfApi()
        repo_id = _persist(lambda: api.create_repo(repo_id, private=private, exist_ok=True).repo_id, repo_id)
        is_private = bool(_persist(lambda: api.repo_info(repo_id), repo_id).private)
        if private and not is_private:
            raise InputError(
                f"{repo_id} exists and is public, but a private push was requested; choose another name, or push with "
                f"--public (--hub_private_repo false in a recipe)"
            )
        _persist(lambda: _commit(api, files, repo_id), repo_id)
    return repo_id, is_private


def require_token() -> None:
    """Raises InputError when neither the environment nor the Hub's login file holds a token."""
    if get_token() is None:
        raise InputError(
            "no Hugging Face token: put one with write permission into the environment as HF_TOKEN, or run "
            "`hf auth login` once"
        )


def _commit(api: HfApi, files: dict[str, bytes | Path], repo_id: str) -> None:
    """Raises _Incomplete unless the commit then holds every file with the hash of what was sent."""
    additions = [CommitOperationAdd(name, content) for name, content in files.items()]
    commit = api.create_commit(repo_id, additions, commit_message="Upload with dialsum-trl").oid
    arrived = {file.path: file for file in api.get_paths_info(repo_id, list(files), revision=commit)}
    for name, content in files.items():
        data = content if isinstance(content, bytes) else Path(content).read_bytes()
        file = arrived.get(name)
        if file is not None and file.lfs is not None:
            same = file.lfs.sha256 == hashlib.sha256(data).hexdigest()
        else:  # git's name of a blob
            same = file is not None and file.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        if not same:
            raise _Incomplete(f"{name} did not arrive whole")


class _Incomplete(Exception):
    """The repository does not hold what was sent."""


def _persist(step: Callable[[], Result], repo_id: str) -> Result:
    """`step()`, again after a pause while the failure may pass, then one clear line."""
    for wait in (*WAITS, None):
        try:
            return step()
        except OfflineModeIsEnabled:
            raise InputError(f"push to {repo_id}: HF_HUB_OFFLINE is set; unset it to reach the Hub") from None
        except (httpx2.HTTPError, OSError, RuntimeError, json.JSONDecodeError, _Incomplete) as error:
            # one large file's failure comes wrapped; hf_xet raises OSError and RuntimeError of its own
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
            status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
            if wait is None or (status is not None and status not in TRANSIENT):
                raise InputError(f"push to {repo_id} failed: {_reason(cause, status)}") from None
            say(f"push to {repo_id}: {_first_line(cause)}; trying again in {wait} s")
            time.sleep(wait)
        except ValueError as error:  # a name that is none, metadata or files that the Hub does not take
            raise InputError(f"push to {repo_id} failed: {_first_line(error)}") from None


def _reason(error: BaseException, status: int | None) -> str:
    if status in (401, 403):
        return f"the Hub refused ({status}); check that the token may write there: {_first_line(error)}"
    if status is not None:
        return f"{_first_line(error)}. Nothing was lost; the same command continues"
    if isinstance(error, _Incomplete):
        return f"{error}. Nothing was lost here; push again"
    return f"the Hub does not answer ({_first_line(error)}). Nothing was lost; check the network and push again"


def _first_line(error: BaseException) -> str:
    """The first line of an error without the token, should a server ever echo it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].replace(get_token() or "\0", "***").rstrip(".")


@contextmanager
def _impatient_client() -> Iterator[None]:
    """The Hub's client with a time limit, and without its own log lines (they hold signed addresses)."""

    def client() -> httpx2.Client:
        result = default_client_factory()
        result.timeout = httpx2.Timeout(TIMEOUT)
        return result

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    set_client_factory(client)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)
        logging.set_verbosity(verbosity)
