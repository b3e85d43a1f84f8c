"""Settings: dataclasses of flags, and `parse_recipe` that merges them.

Precedence, lowest first: trainer defaults < recipe < `--config my.yaml` < flags. Unknown keys, unknown flags and
abbreviated flags are errors. Nothing heavy is imported here: `--help` of a recipe is instant.
"""

import difflib
import os
import runpy
import sys
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path

from dialsum_trl.core.errors import InputError, settings_in_one_line
from dialsum_trl.core.settings.bounds import check_numbers
from dialsum_trl.core.settings.flags import (
    DataArguments,
    DecodingArguments,
    ModelArguments,
    PredictArguments,
    PromptArguments,
    RougeArguments,
)
from dialsum_trl.core.settings.launch import fit_topology, use_one_gpu
from dialsum_trl.core.settings.unread import refuse_unread
from dialsum_trl.core.settings.yaml_file import (
    as_tokens,
    check_config_values,
    defaults_of,
    pop_config,
    read_config,
    stage_settings,
)
from dialsum_trl.stages.common.names import STAGES
from dialsum_trl.stages.sft import SFTArguments
from dialsum_trl.training.trackers import check_trackers

SHARED = {
    item.name
    for group in (DataArguments, PromptArguments, ModelArguments, RougeArguments, DecodingArguments, PredictArguments)
    for item in fields(group)
}


def _parser(groups):
    # transformers' argument parser in the copy that TRL ships because importing it costs no torch
    from trl.scripts._hf_argparser import HfArgumentParser

    class Parser(HfArgumentParser):
        def error(self, message):
            raise InputError(f"{message} (--help lists the flags)")

    # resolve: TRL's configs have a trust_remote_code of their own; both get the flag's value
    return Parser(groups, allow_abbrev=False, add_help=False, conflict_handler="resolve")


def _unknown(names: list[str], known: set[str], where: str) -> InputError:
    name = names[0]
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; --help lists the flags"
    return InputError(f"{where}: unknown setting {name}{hint}")


def _print_help(groups, recipe: dict, trainer_name: str | None) -> None:
    parser = _parser(groups)
    parser.set_defaults(**{k: v for k, v in recipe.items() if any(a.dest == k for a in parser._actions)})
    parser.usage = "accelerate launch %(prog)s [--config my.yaml] [--flag value ...]"
    own = {action.dest for action in parser._actions}
    rest = {k: v for k, v in recipe.items() if k not in own}
    if trainer_name:
        parser.epilog = (
            f"Every field of {trainer_name} is a flag too (--help_all lists them). This recipe sets: "
            + ", ".join(f"{k}={v}" for k, v in rest.items())
        )
    parser.print_help()


def parse_recipe(
    groups: list[type], recipe: dict, argv: list[str], trainer_config=None, adjust=None, stage=None
) -> tuple:
    """Merges recipe, config file and flags into dataclass instances.

    Args:
        groups: light dataclasses of flags (above).
        recipe: the recipe's settings.
        argv: command-line tokens.
        trainer_config: `(name, loader)`; `loader()` imports and returns the trainer's config dataclass. It is called
            after `--help` was served.
        adjust: called with `(namespace dict, names set by the user)` before the dataclasses are built; may change
            the dict. Here dtype and mixed precision are matched.
        stage: which section of the config file is read beside its common keys.

    Returns:
        One instance a group, then one of the trainer's config if given.

    Raises:
        InputError: unknown or abbreviated flag, unknown key in the config file, a value of the wrong type or out of
            its bounds, or a flag that the stage does not read.
    """
    trainer_name, load_trainer_config = trainer_config or (None, None)
    if "--help" in argv or "-h" in argv:
        _print_help(groups, recipe, trainer_name)
        sys.exit(0)
    config_path, argv = pop_config(list(argv))
    config_file = read_config(config_path) if config_path else {}
    config = stage_settings(config_file, stage)
    if load_trainer_config:
        groups = [*groups, load_trainer_config()]
    parser = _parser(groups)
    if "--help_all" in argv:
        parser.print_help()
        sys.exit(0)

    known = {action.dest for action in parser._actions}
    # a common key may be meant for other stages: those of the shared groups are passed over where a stage lacks them
    passed_over = SHARED - known - set(config_file.get(stage) or {})
    config = {key: value for key, value in config.items() if key not in passed_over}
    for settings, where in ((recipe, "recipe"), (config, f"--config {config_path}")):
        if unknown := [key for key in settings if key not in known]:
            raise _unknown(unknown, known, where)
    if "trust_remote_code" in {**recipe, **config}:
        where = f"--config {config_path}" if "trust_remote_code" in config else "recipe"
        raise InputError(
            f"{where}: trust_remote_code runs code of strangers; it is taken from the command line only: remove it"
        )
    check_config_values(parser, groups, config, f"--config {config_path}")
    tokens, nones = as_tokens({**recipe, **config})
    parser.set_defaults(**nones)
    namespace, rest = parser.parse_known_args(tokens + argv)
    if rest:
        raise _unknown([rest[0].split("=")[0]], {f"--{name}" for name in known}, "command line")

    names = [t.removeprefix("--").split("=")[0].replace("-", "_") for t in argv if t.startswith("--")]
    asked = set(config_file.get(stage) or {}) | {n if n in known else n.removeprefix("no_") for n in names}
    given = set(config) | asked
    values = vars(namespace)
    values.update({name: _at_home(value) for name, value in values.items()})
    check_numbers(values, defaults_of(parser))
    if empty := [name for name in ("output_dir", "output_file", "write_folds") if values.get(name) == ""]:
        raise InputError(f"--{empty[0]} is empty, which would be the working directory; name a place")
    check_trackers(values.get("report_to"))
    _check_old_names(values, given)
    refuse_unread(stage, values, asked, defaults_of(parser))  # common keys may be meant for other stages
    if adjust:
        adjust(values, given)
    fit_topology(stage, values, given)
    result = []
    for group in groups:
        with settings_in_one_line():
            result.append(group(**{f.name: values[f.name] for f in fields(group) if f.init}))
    if load_trainer_config:
        use_one_gpu(result[-1])
    return tuple(result)


def _at_home(value):
    """`~/data` as the folder it means: a shell writes it out at the start of a word alone, a YAML file nowhere."""
    if isinstance(value, list):
        return [_at_home(each) for each in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def _check_old_names(values: dict, given: set[str]) -> None:
    """Raises InputError where an old name of a flag would be passed over for what its new name says."""
    for old in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
        new = old.replace("gradient", "activation")
        if old in given and values[new] is not None and values[new] != values[old]:
            raise InputError(f"--{old}: is now called --{new}, which this recipe sets: give --{new}")


def read_recipe(path: Path, config: str | None = None, overrides: dict | None = None) -> tuple[str, dict]:
    """Stage and merged settings, lowest first: defaults < stage settings < recipe < config file < overrides.

    Args:
        overrides: flags; None values are left out.

    Raises:
        InputError: the file is no recipe.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such recipe; recipes/ holds them")
    if path.suffix != ".py":
        raise InputError(f"{path}: a recipe is a .py file; settings in YAML go to --config")
    names = runpy.run_path(str(path))
    modules = {value.__module__ for value in names.values() if callable(value)}
    stage = next((stage for stage in STAGES if f"dialsum_trl.stages.jobs.{stage}" in modules), None)
    if stage is None or "RECIPE" not in names:
        raise InputError(f"{path}: is no recipe; it has no RECIPE and no stage such as dialsum_trl.sft")
    settings = _defaults()
    settings |= vars(import_module(f"dialsum_trl.stages.jobs.{stage}")).get(f"{stage.upper()}_SETTINGS", {})
    settings |= names["RECIPE"]
    settings |= stage_settings(read_config(config), stage) if config else {}
    return stage, settings | {key: value for key, value in (overrides or {}).items() if value is not None}


def _defaults() -> dict:
    groups = (DataArguments, PromptArguments, ModelArguments, SFTArguments)
    return {
        f.name: f.default if f.default is not MISSING else f.default_factory()
        for group in groups
        for f in fields(group)
    }
