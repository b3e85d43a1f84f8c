"""Settings: trainer defaults < recipe < --config < flags; what is unknown or contradictory is one clear line."""

import subprocess
import sys
from dataclasses import replace

import pytest
from transformers import LlamaConfig

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import DataArguments
from dialsum_trl.core.settings.resolve import resolve
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.stages.sft import SFT
from dialsum_trl.training.batches import batch_arithmetic
from dialsum_trl.training.precision import match_precision
from tests.conftest import ROOT

# what belongs to dev rows is off, as SFT's own `adjust` switches it
RECIPE = dict(
    eval_strategy="no",
    load_best_model_at_end=False,
    model_name_or_path="a/b",
    learning_rate=1e-5,
    dtype="float32",
    output_dir="unused",
    use_cpu=True,
)

adjust = match_precision  # of SFT's job, which would load the model's configuration


def parse(argv, recipe=RECIPE):
    return resolve(replace(SFT, job=__name__, sections=("sft", "predict")), recipe, argv)


def config_file(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_recipe_stands_above_the_trainers_defaults():
    assert parse([])[-1].learning_rate == 1e-5


def test_the_config_file_stands_above_the_recipe(tmp_path):
    path = config_file(tmp_path, "learning_rate: 2e-4\nlora_r: 8\n")
    _, _, model, *_, trainer = parse(["--config", path])
    assert (trainer.learning_rate, model.lora_r) == (2e-4, 8)


def test_flags_stand_above_the_config_file(tmp_path):
    path = config_file(tmp_path, "learning_rate: 2e-4\n")
    assert parse([f"--config={path}", "--learning_rate", "3e-3"])[-1].learning_rate == 3e-3


def test_a_stage_reads_its_own_section_above_the_common_keys(tmp_path):
    path = config_file(tmp_path, "lora_r: 4\nsft:\n  lora_r: 8\npredict:\n  num_beams: 2\n")
    assert parse(["--config", path])[2].lora_r == 8


def test_a_common_key_serves_the_stages_that_have_it_and_a_misspelt_one_is_an_error(tmp_path):
    stage = Stage("report", "json", groups=(DataArguments,), sections=("report",))
    path = config_file(tmp_path, "dtype: float32\ntrain_file: a.csv\n")
    assert resolve(stage, {}, ["--config", path])[0].train_file == "a.csv"
    for text in ("dtyp: float32\n", "report:\n  dtype: float32\n"):
        with pytest.raises(InputError, match="unknown setting dtyp"):
            resolve(stage, {}, ["--config", config_file(tmp_path, text)])


def test_null_takes_a_setting_back_to_none(tmp_path):
    path = config_file(tmp_path, "model_name_or_path: null\n")
    assert parse(["--config", path])[2].model_name_or_path is None


def test_dictionaries_reach_the_trainer():
    trainer = parse([], {**RECIPE, "activation_checkpointing_kwargs": {"use_reentrant": False}})[-1]
    assert trainer.activation_checkpointing_kwargs == {"use_reentrant": False}


@pytest.mark.parametrize("text", ["{num_cycles: 2}", "'{\"num_cycles\": 2}'"])
def test_a_flag_for_settings_takes_a_mapping_of_yaml_or_a_text_of_json(tmp_path, text):
    path = config_file(tmp_path, f"lr_scheduler_kwargs: {text}\n")
    assert parse(["--config", path])[-1].lr_scheduler_kwargs == {"num_cycles": 2}


def test_a_flag_for_one_value_takes_no_mapping(tmp_path):
    with pytest.raises(InputError, match="learning_rate holds settings; --learning_rate takes one value"):
        parse(["--config", config_file(tmp_path, "learning_rate: {a: 1}\n")])


def test_a_home_folder_is_written_out_wherever_a_shell_leaves_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("train_file: ~/rows.csv\n", encoding="utf-8")
    data, *_, trainer = parse(["--config", str(tmp_path / "c.yaml"), "--output_dir=~/out"])
    assert (data.train_file, trainer.output_dir) == (str(tmp_path / "rows.csv"), str(tmp_path / "out"))


def test_ctrl_c_is_one_line_that_says_how_to_go_on():
    program = (
        "from dataclasses import replace\n"
        "from dialsum_trl.stages.common.command import command\n"
        "from dialsum_trl.stages.sft import SFT\n"
        "def adjust(values, given):\n    raise KeyboardInterrupt\n"
        "command(replace(SFT, job='__main__'), 'train_toy', '')({'use_cpu': True})"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and done.stderr.count("\n") == 1
    assert "the same command and --resume_from_checkpoint true" in done.stderr


def test_an_unknown_key_in_a_recipe_is_an_error():
    with pytest.raises(InputError, match="recipe: unknown setting leraning_rate"):
        parse([], {**RECIPE, "leraning_rate": 1})


def test_mixed_precision_follows_the_dtype():
    trainer = parse(["--dtype", "bfloat16"])[-1]
    assert trainer.bf16 and not trainer.fp16


@pytest.mark.parametrize(
    ("stored", "trained"), [("float16", "float16"), ("bfloat16", "bfloat16"), ("float32", "bfloat16")]
)
def test_dtype_auto_is_that_of_the_bases_configuration(stored, trained, tmp_path):
    LlamaConfig(dtype=stored).save_pretrained(tmp_path)
    *_, model, _, _, trainer = parse(["--dtype", "auto", "--model_name_or_path", str(tmp_path)])
    assert (model.dtype, trainer.fp16) == (trained, trained == "float16")


def test_sft_without_a_model_says_what_to_give():
    with pytest.raises(InputError, match="no model: give --model_name_or_path"):
        resolve(SFT, {}, [])


def test_paged_optimizers_give_way_on_a_cpu_unless_asked_for():
    assert parse([], {**RECIPE, "optim": "paged_adamw_32bit"})[-1].optim == "adamw_torch"


def test_accumulation_is_derived_so_that_a_step_sees_64_rows():
    trainer = parse([])[-1]
    batch_arithmetic(trainer, 64)
    assert trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps == 64


def test_rows_that_do_not_divide_name_a_batch_size_that_does():
    trainer = parse(["--per_device_train_batch_size", "24"])[-1]
    with pytest.raises(InputError, match="--per_device_train_batch_size 16"):
        batch_arithmetic(trainer, 64)


def test_a_recipe_without_a_gpu_ends_in_one_line_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "recipes/sft_qwen3_4b.py", "--output_dir", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "no GPU found" in done.stderr.splitlines()[-1]
