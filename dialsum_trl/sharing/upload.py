"""Files to one Hub repository in one commit; a broken connection is tried again."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import logging, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError

WAITS = (2, 8, 30)  # seconds before the second, third and fourth attempt
TIMEOUT = 120  # seconds without a byte before a request counts as broken; the client's own default is never
TRANSIENT = (408, 409, 412, 429, 500, 502, 503, 504)  # 409, 412: another commit came in between


def upload(files: dict[str, bytes | Path], repo_id: str, private: bool = True) -> tuple[str, bool]:
    """Creates the repository where it is missing and commits `files` to its main branch.

    A large file that has arrived is not sent again, neither by a later attempt nor by a later call.

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
        for wait in (*WAITS, None):
            try:
                return _send(files, repo_id, private)
            except InputError:
                raise
            except OfflineModeIsEnabled:
                raise InputError(f"push to {repo_id}: HF_HUB_OFFLINE is set; unset it to reach the Hub") from None
            except (httpx2.HTTPError, OSError, RuntimeError, json.JSONDecodeError) as error:
                # one large file's failure comes wrapped; hf_xet raises OSError and RuntimeError of its own
                cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
                status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
                if wait is None or (status is not None and status not in TRANSIENT):
                    raise InputError(f"push to {repo_id} failed: {_reason(cause, status)}") from None
                say(f"push to {repo_id}: {_first_line(cause)}; trying again in {wait} s")
                time.sleep(wait)
            except ValueError as error:  # a name that is none, metadata or files that the Hub does not take
                raise InputError(f"push to {repo_id} failed: {_first_line(error)}") from None


def require_token() -> None:
    """Raises InputError when neither the environment nor the Hub's login file holds a token."""
    if get_token() is None:
        raise InputError(
            "no Hugging Face token: put one with write permission into the environment as HF_TOKEN, or run "
            "`hf auth login` once"
        )


def _send(files: dict[str, bytes | Path], repo_id: str, private: bool) -> tuple[str, bool]:
    api = HfApi()
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    is_private = bool(api.repo_info(repo_id).private)
    if private and not is_private:
        raise InputError(
            f"{repo_id} exists and is public, but a private push was requested; choose another name, or push with "
            f"--public (--hub_private_repo false in a recipe)"
        )
    additions = [CommitOperationAdd(name, content) for name, content in files.items()]
    api.create_commit(repo_id, additions, commit_message="Upload with dialsum-trl")
    return repo_id, is_private


def _reason(error: BaseException, status: int | None) -> str:
    if status in (401, 403):
        return f"the Hub refused ({status}); check that the token may write there: {_first_line(error)}"
    what = _first_line(error) if status is not None else f"the Hub does not answer ({_first_line(error)})"
    return f"{what}. Nothing was lost; the same command continues"


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
