"""What is private in TRL and transformers, and used here all the same, is as it was read; one file overrides it."""

import ast
import hashlib
import importlib.metadata
import inspect
import re
from pydoc import locate

import pytest
import transformers
import trl

from dialsum_trl.rl.dpo_trainer import DPOTrainer
from dialsum_trl.rl.grpo_trainer import GRPOTrainer
from dialsum_trl.rl.ppo_trainer import PPOTrainer
from dialsum_trl.rl.reward_model import RewardTrainer
from dialsum_trl.training import upstream
from dialsum_trl.training.seq2seq_trainer import Seq2SeqTrainer
from dialsum_trl.training.sft_trainer import SFTTrainer
from tests.conftest import ROOT

OURS = (SFTTrainer, Seq2SeqTrainer, RewardTrainer, DPOTrainer, GRPOTrainer, PPOTrainer)
THEIRS = (trl.SFTTrainer, transformers.Seq2SeqTrainer, trl.RewardTrainer, trl.DPOTrainer, trl.GRPOTrainer)
METHODS = upstream.OVERRIDDEN | upstream.CALLED | upstream.FOLLOWED


def own_classes(trainer) -> list[type]:
    return [each for each in trainer.__mro__ if each.__module__.startswith("dialsum_trl.")]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_as_it_was_read(name):
    package = name.split(".")[0]
    if package == "deepspeed":
        pytest.importorskip("deepspeed")
    method = locate(name)
    read, here = upstream.READ_IN[package], importlib.metadata.version(package)
    assert method is not None, f"{name} of {package} {read} is gone in {here}: see dialsum_trl/training/upstream.py"
    found = hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:12]
    assert found == METHODS[name], (
        f"{name} was read in {package} {read} and is another in {here}: read it again, see whether what "
        f"dialsum_trl/training/upstream.py says of it still fits, and put {found} there"
    )


@pytest.mark.parametrize("name", upstream.ATTRIBUTES)
def test_an_attribute_stands_where_it_was_read(name):
    sources = [inspect.getsource(each) for each in locate(upstream.ATTRIBUTES[name]).__mro__[:-1]]
    assert any(re.search(rf"\b{name}\b", source) for source in sources), f"{upstream.ATTRIBUTES[name]} has no {name}"


@pytest.mark.parametrize("trainer", OURS, ids=lambda trainer: trainer.__name__)
def test_a_trainer_stands_on_few_classes_and_one_of_them_alone_overrides_what_is_private(trainer):
    ours = own_classes(trainer)
    theirs = [each for each in trainer.__mro__ if each not in ours]
    assert len(ours) <= 4 and upstream.Upstream in ours
    private = {name for each in theirs for name in vars(each) if name.startswith("_") and not name.startswith("__")}
    for each in ours:
        if each is not upstream.Upstream:
            assert not (vars(each).keys() & private) - upstream.ATTRIBUTES.keys(), each


def test_every_override_is_in_the_table_and_every_hook_has_a_name_of_its_own():
    names = {name.split(".")[-1] for name in upstream.OVERRIDDEN}
    defined = {name for name in vars(upstream.Upstream) if not name.startswith("__")}
    assert {name for name in defined if name.startswith("_")} == names
    assert not {name for name in defined - names for trainer in THEIRS if hasattr(trainer, name)}


def test_what_else_is_used_of_theirs_is_in_a_table():
    source = "".join(inspect.getsource(each) for trainer in THEIRS for each in trainer.__mro__[:-1])
    known = upstream.ATTRIBUTES.keys() | {name.split(".")[-1] for name in METHODS}
    used = set()
    for folder in ("training", "rl", "stages", "sharing"):
        for file in (ROOT / "dialsum_trl" / folder).rglob("*.py"):
            tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            used |= {node.attr for node in tree if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)}
    theirs = {name for name in used if re.search(rf"(self|trainer)\.{name}\b|def {name}\b", source)}
    assert theirs - known == set()
