"""Flags from dataclasses: what TRL's scripts take, without importing trl."""

import json
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Literal

import pytest
from transformers import Seq2SeqTrainingArguments
from trl import DPOConfig, GRPOConfig, RewardConfig, SFTConfig
from trl.scripts._hf_argparser import HfArgumentParser

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.parser import FlagParser

CONFIGS = [SFTConfig, DPOConfig, RewardConfig, GRPOConfig, Seq2SeqTrainingArguments]
TEXTS = ("1", "0.5", "-3", "true", "No", "none", "NULL", "abc", "linear", "epoch", '{"a": 1}', "4bit", "")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Flags:
    rate: float = field(default=0.5, metadata={"help": "Rate of learning."})
    fast: bool = False
    use_peft: bool = True
    packing: bool | None = None
    seed: int | None = 3
    name: str | None = None
    dtype: Literal["float16", "float32"] = "float32"
    size: Literal[1, 2] = 1
    color: Color | str = "red"
    layers: list[str] = field(default_factory=lambda: ["q_proj"])
    shares: list[float] | None = None
    extra: dict | str | None = None
    derived: int = field(default=0, init=False)


def parse(*argv):
    return FlagParser([Flags]).parse_args(argv)


def read(action, text):
    """What an action makes of a text; an error of any kind is a refusal."""
    try:
        return action.type(text) if action.type else None
    except Exception:
        return "refused"


def test_every_field_is_a_flag_with_its_default():
    assert vars(parse()) == {item.name: getattr(Flags(), item.name) for item in fields(Flags) if item.init}


def test_a_flag_is_written_with_underscores_or_hyphens():
    assert parse("--use_peft", "false").use_peft is parse("--use-peft=false").use_peft is False


@pytest.mark.parametrize("words", [["--fast"], ["--fast", "true"], ["--fast=yes"], ["--fast", "1"]])
def test_a_switch_is_on_alone_or_with_a_word(words):
    assert parse(*words).fast is True


@pytest.mark.parametrize("words", [["--use_peft", "false"], ["--use_peft=No"], ["--no_use_peft"], ["--no-use-peft"]])
def test_a_switch_that_is_on_by_default_is_taken_back(words):
    assert parse(*words).use_peft is False


def test_a_switch_that_is_off_by_default_has_no_negative():
    with pytest.raises(InputError, match="--no_fast"):
        parse("--no_fast")


def test_a_switch_that_is_neither_on_nor_off_has_to_say_which():
    assert parse("--packing", "false").packing is False
    with pytest.raises(InputError, match="--packing"):
        parse("--packing")


def test_a_switch_takes_no_other_word():
    with pytest.raises(InputError, match="expected true or false, not 'maybe'"):
        parse("--fast", "maybe")


def test_none_takes_an_optional_number_back_and_is_a_word_where_text_is_allowed():
    assert parse("--seed", "None").seed is None
    assert parse("--name", "none").name == "none"


def test_a_choice_keeps_its_type_and_another_word_is_refused():
    assert parse("--size", "2").size == 2
    assert parse("--color", "blue").color == "blue"
    for words in (["--size", "3"], ["--dtype", "int8"], ["--color", "green"]):
        with pytest.raises(InputError, match="invalid choice"):
            parse(*words)


def test_a_list_takes_one_value_or_more():
    assert parse("--layers", "k_proj", "v_proj").layers == ["k_proj", "v_proj"]
    assert parse("--shares", "1", "0.5").shares == [1.0, 0.5]
    with pytest.raises(InputError, match="--layers"):
        parse("--layers")


def test_settings_in_json_reach_the_dataclass_as_text_which_reads_them(tmp_path):
    assert parse("--extra", '{"a": 1}').extra == '{"a": 1}'
    namespace = FlagParser([SFTConfig]).parse_args(["--lr_scheduler_kwargs", '{"num_cycles": 2}'])
    config = SFTConfig(output_dir=str(tmp_path), use_cpu=True, lr_scheduler_kwargs=namespace.lr_scheduler_kwargs)
    assert config.lr_scheduler_kwargs == json.loads('{"num_cycles": 2}')


def test_a_wrong_type_names_flag_and_type():
    with pytest.raises(InputError, match="argument --seed: invalid int value: 'x'"):
        parse("--seed", "x")


def test_a_flag_cannot_be_abbreviated():
    with pytest.raises(InputError, match="--see"):
        parse("--see", "3")


def test_what_the_dataclass_sets_itself_is_no_flag():
    with pytest.raises(InputError, match="--derived"):
        parse("--derived", "1")


def test_help_shows_text_and_default():
    text = " ".join(FlagParser([Flags]).format_help().split())
    assert "--rate RATE Rate of learning. (default: 0.5)" in text


def test_a_field_without_default_is_required():
    @dataclass
    class Required:
        path: str

    with pytest.raises(InputError, match="required: --path"):
        FlagParser([Required]).parse_args([])


def test_a_field_of_two_dataclasses_is_the_later_ones():
    @dataclass
    class Later:
        seed: int = 42

    assert FlagParser([Flags, Later]).parse_args([]).seed == 42


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_field_becomes_the_flag_that_trls_scripts_have(config):
    ours = FlagParser([config])
    theirs = HfArgumentParser([config], allow_abbrev=False, add_help=False, conflict_handler="resolve")
    assert ours.format_help() == theirs.format_help()
    assert [action.dest for action in ours._actions] == [action.dest for action in theirs._actions]
    for own, other in zip(ours._actions, theirs._actions, strict=True):
        for name in ("option_strings", "default", "nargs", "const", "required", "help", "metavar"):
            assert getattr(own, name) == getattr(other, name), (own.dest, name)
        assert type(own) is type(other)
        assert list(own.choices or []) == list(other.choices or [])
        assert [read(own, text) for text in TEXTS] == [read(other, text) for text in TEXTS], own.dest
