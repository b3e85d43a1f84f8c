"""Whether a base is the one an adapter was trained on, checked before either is loaded.

The same model may be elsewhere: a local copy, a download, a folder that moved. So names may differ; if both are on this
machine, their files are compared.
"""

from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.hub import hub_file
from dialsum_trl.models.identity import base_identity
from dialsum_trl.models.provenance import base_origin, cached_folder

ARCHITECTURE = (
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "d_model", "encoder_layers", "decoder_layers",
)  # fmt: skip


def compare_bases(adapter: str, trained_on: tuple[str, str], named: tuple[str, str]) -> None:
    """Warns in one line where the two (name or path, revision) may differ."""
    if trained_on == named:
        return
    then, now = (_folder(*each) for each in (trained_on, named))
    if then and now:
        if base_identity(str(then), "") == base_identity(str(now), ""):
            return
        old, new = (read_json(folder / "config.json", "give the folder of a model") for folder in (then, now))
        if differ := [key for key in ARCHITECTURE if old.get(key) != new.get(key)]:
            raise InputError(
                f"--adapter_path {adapter}: was trained on {trained_on[0]}, and {named[0]} is another model "
                f"({differ[0]} {old.get(differ[0])} and {new.get(differ[0])}): leave --model_name_or_path out, or name "
                f"the base it was trained on"
            )
        difference = "of the same architecture with other weights"
    else:
        one, two = (base_origin(*each) for each in (trained_on, named))
        if one.repo_id == two.repo_id is not None and (one.commit == two.commit or None in (one.commit, two.commit)):
            return
        difference = "which may be another model: not both are here to compare"
    say(
        f"warning: --adapter_path {adapter} was trained on {_shown(*trained_on)} and is put on {_shown(*named)}, "
        f"{difference}"
    )


def _shown(name: str, revision: str) -> str:
    return name if revision == "main" or Path(name).expanduser().is_dir() else f"{name}@{revision}"


def _folder(name: str, revision: str) -> Path | None:
    """Where a model's config.json is on this machine: its folder, or its snapshot in the Hub's cache."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return cached_folder(name, revision)
    return folder if (folder / "config.json").is_file() else None


def find_recorded(adapter: str, name: str, revision: str) -> None:
    """Raises InputError where the base that an adapter's record names is neither a folder here nor on the Hub."""
    if Path(name).expanduser().is_dir():
        return
    try:
        there = hub_file(name, "config.json", revision)
    except OSError:  # no such repository, or no name of one
        there = None
    if not there:
        raise InputError(
            f"--adapter_path {adapter}: its record names the base {name}, which is no folder here, and neither the Hub "
            f"nor its cache gives it (gated models need HF_TOKEN): name the base by --model_name_or_path"
        )
