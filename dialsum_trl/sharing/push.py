"""Saving an adapter that loads elsewhere, and sharing it: the adapter, its tokenizer, its card and nothing else.

On disk the run record and `adapter_config.json` name the base so that it loads again here; what is pushed names the
base's Hub repository and commit, never a local path.
"""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants
from transformers import TrainingArguments

from dialsum_trl.core.console import is_main_process, say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import json_text
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.adapters import check_adapter
from dialsum_trl.models.file_names import RUN_FILE
from dialsum_trl.models.files import check_adapter_files, check_model_files
from dialsum_trl.models.provenance import base_origin
from dialsum_trl.sharing.card import CURVE_FILE, NEEDED, REPO_ID, model_card
from dialsum_trl.sharing.save import ADAPTER_CONFIG, CARD, with_base
from dialsum_trl.sharing.upload import require_token, upload

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
UNKNOWN_BASE = "the base {} is a local folder, and the card must name its Hub repository"
OF_A_RUN = "give the folder of a finished run"
ADAPTER_FILES = ("adapter_model.safetensors", *TOKENIZER_FILES)
MODEL_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "model-?????-of-?????.safetensors",
    "model.safetensors.index.json",
)  # fmt: skip


def plan_push(args: TrainingArguments, model_args: ModelArguments) -> Callable[[], str | None]:
    """The push (or nothing) to call after training. What a push would miss shows now, before training.

    Switches the trainer's own uploads off: they would send TRL's card, training_args.bin and the local path of the base
    at every save.

    Returns:
        A function without arguments that returns the repository, or None where nothing was pushed.

    Raises:
        InputError: no token, a token in a flag, or a base folder whose repository is not known.
    """
    if args.hub_token:
        raise InputError("--hub_token would end in logs and files; put the token into the environment as HF_TOKEN")
    if not args.push_to_hub:
        return lambda: None
    args.push_to_hub = False
    require_token()
    base = str(model_args.model_name_or_path)
    if base_origin(base).repo_id is None:
        raise InputError(f"{UNKNOWN_BASE.format(base)}: push it afterwards with `dialsum push --base owner/name`")
    return lambda: push(args.output_dir, args.hub_model_id, private=args.hub_private_repo is not False)


def push(
    folder: str | Path,
    repo_id: str | None = None,
    private: bool = True,
    base: str | None = None,
    scores: str | Path | None = None,
) -> str | None:
    """Uploads an adapter (or a full model) to the Hub in one commit; private by default.

    The token comes from the environment or the Hub's own login.

    Args:
        folder: the output folder of a training run, or a merged model.
        repo_id: `owner/name`, or a name under the token's owner; default: the folder's name.
        private: a push into a public repository is refused then.
        base: repository of the base, where the folder does not know it; `owner/name` or `owner/name@commit`.
        scores: `scores.json` of a predict run; the card shows them instead of the training run's.

    Returns:
        The repository (None on other ranks).

    Raises:
        InputError: there is nothing to push, or the Hub refused; the local folder is untouched.
    """
    if not is_main_process():
        return None
    folder, repo_id = Path(folder), repo_id or Path(folder).resolve().name
    files = shared_files(folder, repo_id, base, scores)
    repo_id, is_private = upload(files, repo_id, private)
    say(f"pushed {len(files)} files to {constants.ENDPOINT}/{repo_id} ({'private' if is_private else 'public'})")
    return repo_id


def shared_files(
    folder: Path, repo_id: str, base: str | None = None, scores: str | Path | None = None
) -> dict[str, bytes | Path]:
    """Path in the repository -> content or local file: exactly what a push of `folder` sends.

    Arguments and errors are those of `push`.
    """
    is_adapter = (folder / ADAPTER_CONFIG).exists()
    if not is_adapter and not (folder / "config.json").exists():
        raise InputError(f"{folder}: holds neither an adapter ({ADAPTER_CONFIG}) nor a model (config.json) to push")
    record = read_json(folder / RUN_FILE, f"{OF_A_RUN}, or share it without a card by `hf upload`")
    if missing := [key for key in NEEDED if key not in record]:
        raise InputError(f"{folder / RUN_FILE}: lacks {', '.join(missing)}, which the card shows; {OF_A_RUN}")
    record = with_base(record, base)
    if not REPO_ID.fullmatch(record["base_model"]):
        raise InputError(f"{UNKNOWN_BASE.format(record['base_model'])}: give it with --base owner/name")
    if scores:
        record["evaluation"] = _predicted(Path(scores))
    patterns = ADAPTER_FILES if is_adapter else (*MODEL_FILES, *TOKENIZER_FILES)
    files: dict[str, bytes | Path] = {path.name: path for name in patterns for path in sorted(folder.glob(name))}
    if (folder / CURVE_FILE).exists():
        files[CURVE_FILE] = folder / CURVE_FILE
    adapter = None
    if is_adapter:
        adapter = check_adapter_files(folder, "push")
        check_adapter(folder)
        adapter |= {"base_model_name_or_path": record["base_model"], "revision": record["base_revision"]}
        files[ADAPTER_CONFIG] = json_text(adapter).encode()
    else:
        check_model_files(folder)
    files[RUN_FILE] = json_text(record).encode()
    files[CARD] = model_card(record, repo_id, adapter, CURVE_FILE in files).encode()
    return files


def _predicted(path: Path) -> dict:
    """The evaluation part of a card from a predict run's scores.json."""
    scores = read_json(path, "give scores.json of recipes/predict.py by --scores")
    if not {"decoding", "rouge", "test_file"} <= set(scores):
        raise InputError(f"--scores {path}: is no scores.json of recipes/predict.py")
    if scores["rouge"] is None:
        raise InputError(f"--scores {path}: holds no ROUGE; the rows that were summarized had no references")
    decoding = scores["decoding"]
    how = f"beam {decoding['num_beams']}" if decoding["num_beams"] > 1 else "greedy"
    how = f"sampling at temperature {decoding['temperature']}" if decoding["do_sample"] else how
    decoded = f"{how}, at most {decoding['max_new_tokens']} new tokens"
    return {"file": Path(scores["test_file"]).name, "rouge": scores["rouge"], "decoding": decoded}
