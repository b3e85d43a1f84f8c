"""A package or an argument that is missing is one line, before a model is loaded."""

from types import SimpleNamespace

import pytest
from transformers import TrainingArguments

from dialsum_trl.core.errors import InputError
from dialsum_trl.stages.common.online import check_rollout
from dialsum_trl.stages.ppo import train_ppo
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training import optional
from dialsum_trl.training.optional import check_engine, check_optional


@pytest.fixture
def nothing_is_installed(monkeypatch):
    for package in ("galore_torch", "torchao", "schedulefree", "apollo_torch", "lomo", "grokadamw", "torch_optimi"):
        monkeypatch.setattr(f"transformers.trainer_optimizer.is_{package}_available", lambda *version: False)
    monkeypatch.setattr(optional, "is_liger_kernel_available", lambda: False)
    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda name: None)


def arguments(folder, **settings) -> TrainingArguments:
    return TrainingArguments(output_dir=str(folder), use_cpu=True, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_liger_kernel": True}, "--use_liger_kernel true: .*pip install liger-kernel"),
        ({"optim": "galore_adamw"}, "--optim galore_adamw: .*galore"),
        ({"optim": "adamw_torch_8bit"}, "--optim adamw_torch_8bit: .*pip install torchao"),
        ({"optim": "schedule_free_adamw"}, "--optim schedule_free_adamw: .*pip install schedulefree"),
        ({"optim": "apollo_adamw"}, "--optim apollo_adamw: .*apollo_torch"),
        ({"optim": "lomo"}, "--optim lomo: .*pip install lomo-optim"),
        ({"optim": "grokadamw"}, "--optim grokadamw: .*pip install grokadamw"),
        ({"optim": "stable_adamw"}, "--optim stable_adamw: .*pip install torch-optimi"),
    ],
)
def test_a_missing_package_is_named(tmp_path, nothing_is_installed, settings, message):
    with pytest.raises(InputError, match=message):
        check_optional(arguments(tmp_path, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optim_args": "weight_decay=0.9"}, "--optim_args weight_decay=0.9: has no effect with --optim adamw_torch"),
        ({"optim": "sgd", "optim_args": "momentum"}, "--optim_args momentum: give name=value"),
        ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"num_cycles": 2}}, "no effect with .* constant;"),
    ],
)
def test_arguments_that_nothing_reads_are_refused(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        check_optional(arguments(tmp_path, **settings))


def test_a_missing_vllm_is_named(nothing_is_installed):
    check_engine(use_vllm=False)
    with pytest.raises(InputError, match=r"--use_vllm true: .*pip install vllm"):
        check_engine(use_vllm=True)


@pytest.mark.parametrize(
    ("name", "argument"), [("cosine_with_min_lr", "min_lr"), ("warmup_stable_decay", "num_decay_steps")]
)
def test_a_scheduler_without_its_argument_names_it_and_takes_it(tmp_path, name, argument):
    with pytest.raises(InputError, match=f"--lr_scheduler_type {name}: .*{argument}.*--lr_scheduler_kwargs"):
        check_optional(arguments(tmp_path, lr_scheduler_type=name))
    check_optional(arguments(tmp_path, lr_scheduler_type=name, lr_scheduler_kwargs={argument: 1}))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optim": "paged_adamw_32bit"},
        {"lr_scheduler_type": "cosine"},
        {"lr_scheduler_type": "constant_with_warmup"},
    ],
)
def test_what_the_recipes_use_is_here(tmp_path, settings):
    assert check_optional(arguments(tmp_path, **settings)) is None


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("--load_in_4bit true", "--quantization 4bit"),
        ("--torch_dtype bfloat16", "--dtype"),
        ("--per_device_batch_size 4", "--per_device_train_batch_size"),
        ("--cutoff_len 512", "--max_length"),
        ("--max_seq_length 512", "--max_length"),
        ("--evaluation_strategy epoch", "--eval_strategy"),
        ("--lora_rank 8", "--lora_r"),
        ("--epochs 3", "--num_train_epochs"),
        ("--warmup_ratio 0.1", r"--warmup_steps 0\.1 "),
        ("--sample_packing true", "packs its rows already"),
    ],
)
def test_a_flag_of_another_tool_is_answered_with_ours(words, ours):
    with pytest.raises(InputError, match=f"unknown setting {words.split()[0]}; .*{ours}"):
        train_sft({}, words.split())


def test_a_key_of_another_tool_in_a_file_is_answered_too(tmp_path):
    (tmp_path / "my.yaml").write_text("sft:\n  lora_rank: 8\n")
    with pytest.raises(InputError, match=r"unknown setting lora_rank; here it is --lora_r$"):
        train_sft({}, ["--config", str(tmp_path / "my.yaml")])


def test_every_unknown_key_of_a_file_is_answered_in_one_line(tmp_path):
    (tmp_path / "my.yaml").write_text("sft:\n  stage: sft\n  template: qwen3\n  cutoff_len: 512\n  learning_rat: 1\n")
    with pytest.raises(InputError) as error:
        train_sft({}, ["--config", str(tmp_path / "my.yaml")])
    hints = ("stage (leave it out", "template (leave it out", "cutoff_len (here it is --max_length)", "learning_rate?)")
    assert all(hint in str(error.value) for hint in hints), error.value


def test_packing_of_other_stages_is_answered_too():
    with pytest.raises(InputError, match="SFT packs its rows already"):
        train_ppo({}, ["--packing", "true"])


def rollout(**settings) -> SimpleNamespace:
    usual = {"generation_batch_size": 64, "num_generations": 1, "num_mini_batches": 1, "world_size": 1}
    return SimpleNamespace(**usual | {"steps_per_generation": 8, "per_device_train_batch_size": 8} | settings)


def test_fewer_dialogues_than_a_rollout_say_how_many_are_needed_and_which_flag_to_lower():
    with pytest.raises(InputError, match=r"3 training dialogues, .* takes 64 .*or lower --rollout_batch_size 3$"):
        check_rollout("PPO", rollout(), 3)
    with pytest.raises(InputError, match=r"3 training dialogues, .* takes 8 .*--gradient_accumulation_steps \(8\)"):
        check_rollout("GRPO", rollout(num_generations=8), 3)
    with pytest.raises(InputError, match=r"--rollout_batch_size 2$"):
        check_rollout("PPO", rollout(num_mini_batches=2), 3)
    with pytest.raises(InputError, match=r"--rollout_batch_size 12$"):
        check_rollout("PPO", rollout(num_mini_batches=6, num_generations=4), 5)
    with pytest.raises(InputError, match=r"give at least 64 dialogues$"):
        check_rollout("PPO", rollout(), 1)


def test_as_many_dialogues_as_a_rollout_are_enough():
    assert check_rollout("PPO", rollout(), 64) is None
    assert check_rollout("GRPO", rollout(num_generations=8), 8) is None
