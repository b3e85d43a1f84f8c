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
from dialsum_trl.training.checked import CheckedTrainer
from dialsum_trl.training.seq2seq_trainer import Seq2SeqTrainer
from dialsum_trl.training.sft_trainer import SFTTrainer
from tests.conftest import ROOT

OURS = (SFTTrainer, Seq2SeqTrainer, RewardTrainer, DPOTrainer, GRPOTrainer, PPOTrainer)
THEIRS = (trl.SFTTrainer, transformers.Seq2SeqTrainer, trl.RewardTrainer, trl.DPOTrainer, trl.GRPOTrainer)
READ_IN = {"transformers": "5.23.0", "trl": "1.16.0", "torch": "2.13.0", "deepspeed": "0.19.8"}

# Qualified name of a method -> the first 12 digits of the SHA-256 of its source in that version. When a release changes
# one: read it again, see whether ours still fits, and take over its new hash.
OVERRIDDEN = {
    "transformers.Trainer._get_grad_norm": "913ba6f52f07",
    "transformers.Trainer._run_epoch": "31aff00f34c3",
    "transformers.Trainer._get_train_sampler": "1580d7493244",
    "transformers.Trainer._get_output_dir": "97172085342a",
    "transformers.Trainer._save_checkpoint": "a9111e30faa9",
    "transformers.Trainer._prepare_for_training": "f55950593d7e",
    "transformers.Trainer._load_best_model": "0e183d55a9db",
    "transformers.Trainer._save_optimizer_and_scheduler": "c5ef974db69a",
    "transformers.Trainer._load_optimizer_and_scheduler": "741032f57d6f",
    "transformers.Trainer._load_from_checkpoint": "a2804e8d93a2",
    "transformers.Trainer._save": "b136889e8792",
    "trl.DPOTrainer._prepare_dataset": "35e349e8e826",
    "trl.GRPOTrainer._get_train_sampler": "36497afb4d31",
    "trl.GRPOTrainer._generate_single_turn": "e0f02e4fc094",
    "trl.GRPOTrainer._generate_and_score_completions": "1fa48922792d",
}
CALLED = {
    "transformers.Trainer._prepare_inputs": "8f8c4e430d2f",
    "trl.GRPOTrainer._generate": "2a27fdf8f5e6",
    "trl.GRPOTrainer._get_per_token_logps_and_entropies": "ea73c3909275",
    "torch.distributed.fsdp.FSDPModule._get_fsdp_state": "f2c8b4bf8e84",
    "torch.distributed.fsdp._fully_shard._fsdp_state.FSDPState._lazy_init": "7e3dd80ccd33",
    "deepspeed.runtime.zero.stage_1_and_2.DeepSpeedZeroOptimizer._lazy_init_hp_params_optimizer_state": "45e666d78112",
}
FOLLOWED = {  # not overridden, but our code depends on them
    "transformers.Trainer._finalize_training": "6d6d83d6a271",
    "transformers.Trainer._maybe_log_save_evaluate": "af101534f0f7",
    "transformers.Trainer._get_num_items_in_batch": "a31fa106f70d",
    "trl.SFTTrainer.compute_loss": "ca448211ff65",
    "trl.GRPOTrainer._prepare_inputs": "f824e7fb0714",
}
# Attributes that are read or set -> the class in whose source they are.
ATTRIBUTES = {
    "_train_batch_size": "transformers.Trainer",
    "_total_train_tokens": "trl.SFTTrainer",
    "_metrics": "trl.GRPOTrainer",
    "_logs": "trl.GRPOTrainer",
    "_step": "trl.GRPOTrainer",
    "_name": "trl.GRPOTrainer",
    "_tag_names": "trl.GRPOTrainer",
    "_attn_implementation": "transformers.PretrainedConfig",
    "_step_supports_amp_scaling": "torch.optim.AdamW",
}
METHODS = OVERRIDDEN | CALLED | FOLLOWED


def own_classes(trainer) -> list[type]:
    return [each for each in trainer.__mro__ if each.__module__.startswith("dialsum_trl.")]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_as_it_was_read(name):
    package = name.split(".")[0]
    if package == "deepspeed":
        pytest.importorskip("deepspeed")
    method = locate(name)
    read, here = READ_IN[package], importlib.metadata.version(package)
    assert method is not None, f"{name} of {package} {read} is gone in {here}: see what used it"
    found = hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:12]
    assert found == METHODS[name], (
        f"{name} was read in {package} {read} and is another in {here}: read it again, see whether what "
        f"is made of it still fits, and put {found} here"
    )


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_stands_where_it_was_read(name):
    sources = [inspect.getsource(each) for each in locate(ATTRIBUTES[name]).__mro__[:-1]]
    assert any(re.search(rf"\b{name}\b", source) for source in sources), f"{ATTRIBUTES[name]} has no {name}"


@pytest.mark.parametrize("trainer", OURS, ids=lambda trainer: trainer.__name__)
def test_a_trainer_stands_on_few_classes_and_one_of_them_alone_overrides_what_is_private(trainer):
    ours = own_classes(trainer)
    theirs = [each for each in trainer.__mro__ if each not in ours]
    assert len(ours) <= 4 and CheckedTrainer in ours
    private = {name for each in theirs for name in vars(each) if name.startswith("_") and not name.startswith("__")}
    for each in ours:
        if each is not CheckedTrainer:
            assert not (vars(each).keys() & private) - ATTRIBUTES.keys(), each


def test_every_override_is_in_the_table_and_every_hook_has_a_name_of_its_own():
    names = {name.split(".")[-1] for name in OVERRIDDEN}
    defined = {name for name in vars(CheckedTrainer) if not name.startswith("__")}
    assert {name for name in defined if name.startswith("_")} == names
    methods = {name: each for name, each in vars(CheckedTrainer).items() if inspect.isfunction(each)}
    hooks = {name for name in methods.keys() - names if "usual" in inspect.signature(methods[name]).parameters}
    assert hooks
    assert not {name for name in hooks | {"has_steps_left"} for trainer in THEIRS if hasattr(trainer, name)}


def test_what_else_is_used_of_theirs_is_in_a_table():
    source = "".join(inspect.getsource(each) for trainer in THEIRS for each in trainer.__mro__[:-1])
    known = ATTRIBUTES.keys() | {name.split(".")[-1] for name in METHODS}
    used = set()
    for folder in ("training", "rl", "stages", "sharing"):
        for file in (ROOT / "dialsum_trl" / folder).rglob("*.py"):
            tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            used |= {node.attr for node in tree if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)}
    theirs = {name for name in used if re.search(rf"(self|trainer)\.{name}\b|def {name}\b", source)}
    assert theirs - known == set()
