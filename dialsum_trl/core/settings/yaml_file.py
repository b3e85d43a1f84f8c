"""The YAML file of `--config`: read by the safe loader, without tags, with every key once.

Its settings, and a recipe's, become command-line tokens, so that one parser checks every value.
"""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import yaml

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import check_numbers


def read_config(path: str, sections: tuple[str, ...]) -> dict:
    """The mapping in a YAML file.

    Args:
        sections: keys that hold the settings of one stage each; all others apply to every stage.

    Raises:
        InputError: names file, line or key: it cannot be read, is no mapping of settings, holds a tag, a key twice, or
            a value that no flag could hold.
    """
    place = f"--config {path}"
    if (config := _read(place, Path(path))) is None:
        config = {}
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise InputError(f"{place}: must hold `key: value` lines, one setting each")
    for key, value in config.items():
        if key in sections and not isinstance(value, dict | None):
            raise InputError(f"{place}: section {key} must hold `key: value` lines")
        if key in sections:
            _check_values(place, value or {})
    _check_values(place, {key: value for key, value in config.items() if key not in sections})
    return config


def stage_settings(config: dict, stage: str, sections: tuple[str, ...]) -> dict:
    """The settings of one stage: keys outside any section, and those of its own section (`sft:`, `predict:`, ...)."""
    common = {key: value for key, value in config.items() if key not in sections}
    own = config.get(stage) or {}
    return {**common, **own}


def as_tokens(settings: dict) -> tuple[list[str], dict]:
    """A settings dict as command-line tokens, so that argparse checks every value; None becomes a default."""
    tokens, nones = [], {}
    for key, value in settings.items():
        if value is None:
            nones[key] = None
        elif isinstance(value, bool):
            tokens += [f"--{key}", str(value).lower()]
        elif isinstance(value, list | tuple):
            tokens += [f"--{key}", *map(str, value)]
        elif isinstance(value, dict):
            tokens += [f"--{key}", json.dumps(value)]
        else:
            tokens.append(f"--{key}={value}")
    return tokens, nones


def defaults_of(parser) -> dict:
    """Flag -> the value it has when nobody sets it."""
    # of `--x` and `--no_x` the first has the field's default
    return {action.dest: action.default for action in reversed(parser._actions)}


def check_config_values(parser, groups, bounds: dict[str, str], config: dict, where: str) -> None:
    """Raises InputError that names the file when a value of it fits its flag not in shape, type or bounds."""
    actions = {action.dest: action for action in parser._actions}
    mappings = {field.name for group in groups for field in fields(group) if "dict" in str(field.type)}
    hints = [hint for group in groups for hint in get_type_hints(group).items()]  # the parser changes its fields' types
    optional = {name for name, hint in hints if type(None) in get_args(hint)}
    for key, value in config.items():
        if isinstance(value, dict) and key not in mappings:
            raise InputError(f"{where}: {key} holds settings; --{key} takes one value")
        if value is None and key not in optional:
            raise InputError(f"{where}: {key} is null, and needs a value; leave it out for the default")
        if isinstance(value, list) and actions[key].nargs is None:
            raise InputError(f"{where}: {key} holds a list; --{key} takes one value")
    try:
        namespace, _ = parser.parse_known_args(as_tokens(config)[0])
        check_numbers({name: vars(namespace)[name] for name in config}, bounds, defaults_of(parser))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def pop_config(argv: list[str]) -> tuple[str | None, list[str]]:
    """The path after `--config`, and the other tokens."""
    path, rest, tokens = None, [], iter(argv)
    for token in tokens:
        if token == "--config":
            path = next(tokens, None)
            if path is None:
                raise InputError("--config: the path of a YAML file is missing")
        elif token.startswith("--config="):
            path = token.removeprefix("--config=")
        else:
            rest.append(token)
    return path, rest


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


def _check_values(place, settings) -> None:
    """Raises InputError on what no flag could hold."""
    for name, value in settings.items():
        parts = value if isinstance(value, list) else [value]
        if isinstance(value, list) and not value:
            raise InputError(f"{place}: {name} is empty; give a value or leave it out")
        for part in parts:
            if isinstance(part, list):
                raise InputError(f"{place}: {name} holds a list in a list; give one value or one list of values")
            if isinstance(part, dict) and part is not value:
                raise InputError(f"{place}: {name} holds settings in a list; give one value or one list of values")
            if isinstance(part, str) and part is not value and re.match(r"--|-\D", part):
                raise InputError(
                    f"{place}: {name} holds {part[:40]}, which reads as a flag; a flag is a key of its own"
                )
