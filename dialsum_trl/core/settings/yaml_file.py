"""The YAML file of `--config`: read by the safe loader, without tags, with every key once.

Its settings, and a recipe's, become command-line tokens, so that one parser checks every value.
"""

import json
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import yaml

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import check_numbers
from dialsum_trl.core.settings.parser import FlagParser


def read_config(path: str, stage: str, sections: tuple[str, ...]) -> tuple[dict, dict]:
    """The settings in a YAML file: those of every stage, and those of one stage's own section, such as `sft:`.

    Args:
        sections: keys that hold the settings of one stage each.

    Raises:
        InputError: names file, line or key: it cannot be read, is no mapping of settings, holds a tag or a key twice.
    """
    place = f"--config {path}"
    config = _read(place, Path(path)) or {}
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise InputError(f"{place}: must hold `key: value` lines, one setting each")
    for key in sections:
        if not isinstance(config.get(key), dict | None):
            raise InputError(f"{place}: section {key} must hold `key: value` lines")
    return {key: value for key, value in config.items() if key not in sections}, config.get(stage) or {}


def as_tokens(settings: dict) -> tuple[list[str], dict]:
    """A settings dict as command-line tokens, so that argparse checks every value; None becomes a default."""
    tokens, nones = [], {}
    for key, value in settings.items():
        if value is None:
            nones[key] = None
        elif isinstance(value, list | tuple):
            tokens += [f"--{key}", *map(str, value)]
        else:
            tokens.append(f"--{key}={json.dumps(value) if isinstance(value, bool | dict) else value}")
    return tokens, nones


def defaults_of(parser: FlagParser) -> dict:
    """Flag -> the value it has when nobody sets it."""
    # of `--x` and `--no_x` the first has the field's default
    return {action.dest: action.default for action in reversed(parser._actions)}


def check_config_values(
    parser: FlagParser, groups: list[type], bounds: dict[str, str], config: dict, where: str
) -> None:
    """Raises InputError that names the file when a value of it fits its flag not in shape, type or bounds."""
    lists = {action.dest for action in parser._actions if action.nargs == "+"}
    hints = {name: get_args(hint) or (hint,) for group in groups for name, hint in get_type_hints(group).items()}
    for key, value in config.items():
        parts = value if isinstance(value, list) else []
        if isinstance(value, dict) and dict not in [get_origin(kind) or kind for kind in hints[key]]:
            raise InputError(f"{where}: {key} holds settings; --{key} takes one value")
        if value is None and type(None) not in hints[key]:
            raise InputError(f"{where}: {key} is null, and needs a value; leave it out for the default")
        if isinstance(value, list) and key not in lists:
            raise InputError(f"{where}: {key} holds a list; --{key} takes one value")
        if any(isinstance(part, list | dict) for part in parts):
            raise InputError(f"{where}: {key} holds a list or settings in a list; give one list of values")
    try:
        namespace, _ = parser.parse_known_args(as_tokens(config)[0])
        check_numbers({name: vars(namespace)[name] for name in config}, bounds, defaults_of(parser))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


class _Loader(yaml.SafeLoader):
    """The safe loader, which has no tags of Python's, and takes every key once."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                raise yaml.MarkedYAMLError(None, None, f"sets '{key.value}' twice; remove one of them", key.start_mark)
        return super().construct_mapping(node, deep)


def _read(place: str, path: Path):
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except OSError as error:
        raise InputError(f"{place}: {error.strerror}; give the path of a YAML file") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{place}: line {line} is not UTF-8; save the file as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter: the 40th of a month
        raise InputError(f"{place}: not valid YAML ({' '.join(str(error).split())[:200]})") from None
