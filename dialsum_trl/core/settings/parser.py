"""Dataclasses as command-line flags: every field is one, named, typed and described by its declaration.

Written for groups of flags of this package and for the configurations of TRL and transformers, whose fields become the
same flags that TRL's own scripts have. It is no part of trl or transformers, so that reading flags imports neither.
"""

import argparse
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from dialsum_trl.core.errors import InputError

TRUE = ("true", "t", "yes", "y", "1")
OURS = ("bounds", "may_change")  # what `settings.flags.flag` adds to a field's help
FALSE = ("false", "f", "no", "n", "0")


class FlagParser(argparse.ArgumentParser):
    """A parser with one flag per field, `--max_length` and `--max-length` alike.

    - `bool`: `--x`, `--x true`, `--x false`; and `--no_x` where the default is True.
    - `list[...]`: one value or more.
    - `Literal` and `Enum`: one of the values; an `Enum` is left to its dataclass to build.
    - `T | None`: `none` and `null` mean None, unless T is a string.
    - `str | dict`: the text; the dataclass reads its JSON.
    - `int | Literal["all"]`: a number, or the word.

    A flag cannot be abbreviated. Where two dataclasses have a field of the same name, the flag is the later one's.
    `--help` is left to the caller.

    Args:
        groups: dataclasses. A field's `metadata` goes to `add_argument`; `help` is the usual key.

    Raises:
        InputError: on parsing, what argparse says of the command line, instead of an exit with code 2.
    """

    def __init__(self, groups: list[type]):
        formatter = argparse.ArgumentDefaultsHelpFormatter
        # resolve: TRL's configs have a trust_remote_code of their own; both dataclasses get the flag's value
        super().__init__(allow_abbrev=False, add_help=False, conflict_handler="resolve", formatter_class=formatter)
        for group in groups:
            hints = get_type_hints(group)
            for item in fields(group):
                if item.init:
                    self._add_field(item, hints[item.name])

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (--help lists the flags)")

    def _add_field(self, item: Field, hint: Any) -> None:
        metadata = {key: value for key, value in item.metadata.items() if key not in OURS}
        self.add_argument(*_spellings(item.name), **{**metadata, **_keywords(item, hint)})
        if item.default is True:
            self.add_argument(
                *_spellings(f"no_{item.name}"),
                **{**metadata, "action": "store_false", "dest": item.name, "default": False},
            )


def _spellings(name: str) -> list[str]:
    return list(dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")))


def _keywords(item: Field, hint: Any) -> dict[str, Any]:
    """The keyword arguments of `add_argument` for a field."""
    kind, optional = _one_type(hint)
    default = item.default if item.default_factory is MISSING else item.default_factory()
    if default is MISSING and kind is bool:
        default = False
    if default == "" and get_origin(kind) is list:
        default = None  # argparse would read the text as an item
    keywords = {"required": True} if default is MISSING else {"default": default}
    if kind is bool:
        keywords |= {"type": to_bool}
        # a flag that is neither on nor off by default has to say which
        return keywords if default is None else keywords | {"nargs": "?", "const": True}
    if get_origin(kind) is list:
        return keywords | {"type": get_args(kind)[0], "nargs": "+"}
    if (choices := _choices(kind)) is not None:
        by_text = {str(choice): choice for choice in choices}  # any other text stays one, which argparse refuses
        return keywords | {"type": lambda text: by_text.get(text, text), "choices": choices}
    return keywords | {"type": _or_none(kind) if optional else kind}


def _one_type(hint: Any) -> tuple[Any, bool]:
    """The type that a flag's text is read as, of the several its field may allow, and whether `none` means None.

    A union with None is read as its first other member, or as its second where there are more (`dict | str | None`:
    the text, whose JSON the dataclass reads); one without None as what it has beside str (`SchedulerType | str`).
    """
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    first, second, *_ = members = get_args(hint)
    if get_origin(second) is Literal:
        return _or_word(first, get_args(second)), False
    if NoneType not in members:
        return (second if first is str else first), False
    kind = first if second is NoneType else second
    return kind, kind not in (str, bool)


def _choices(kind: Any) -> list | None:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [member.value for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else None


def _or_word(kind: Callable[[str], Any], words: tuple[str, ...]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        return text if text in words else kind(text)

    read.__name__ = f"{getattr(kind, '__name__', kind)} (or {', '.join(words)})"
    return read


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        return None if text.lower() in ("none", "null") else kind(text)

    read.__name__ = getattr(kind, "__name__", str(kind))  # argparse names it: "invalid int value"
    return read


def to_bool(text: str | bool) -> bool:
    """A text as true or false."""
    if (word := str(text).lower()) in (*TRUE, *FALSE):
        return word in TRUE
    raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")
