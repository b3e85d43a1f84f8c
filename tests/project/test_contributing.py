"""CONTRIBUTING.md: the places that it names, and the six tasks, each done as written in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.phase3_toys import flags
from tests.row_files import DEV, read_csv, write_csv

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = dict(re.findall(r"```python (\S+)\n(.*?)```", PAGE, re.DOTALL))
SMALL = dict(
    max_steps=1, per_device_train_batch_size=2, use_cpu=True, dtype="float32", quantization="none", optim="adamw_torch",
    save_strategy="no", eval_strategy="no",
)  # fmt: skip
SFT = dict(SMALL, effective_batch_size=2, load_best_model_at_end=False, fast=False)


@pytest.fixture
def copy(tmp_path):
    """The project as a newcomer has it."""
    for name in ("dialsum_trl", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(folder, *words) -> str:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *map(str, words)], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def append(folder, name) -> None:
    """The page's code at the end of the file that it names, which may be new."""
    path = folder / name
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + "\n\n" + CODE[name], encoding="utf-8")


def test_every_place_that_the_page_names_is_there():
    table = PAGE[PAGE.index("| a line that |") : PAGE.index("`core`, `data`, `metrics`")]
    named = [name for name in re.findall(r"`([\w./]+/[\w./]*)`", table) if "<" not in name]
    assert len(named) > 30
    assert [name for name in named if not (ROOT / "dialsum_trl" / name).exists()] == []


def test_a_fifth_model_is_one_recipe(copy, toy_base):
    CODE["recipes/sft_mine.py"] = CODE["recipes/sft_mine.py"].replace("my/model", str(toy_base))
    append(copy, "recipes/sft_mine.py")
    run(copy, "recipes/sft_mine.py", *flags({**SFT, "train_file": DEV}))
    record = json.loads((copy / "outputs" / "sft_mine" / "dialsum.json").read_text(encoding="utf-8"))
    assert record["base_model"] == str(toy_base) and record["settings"]["learning_rate"] == 2e-5


def test_a_family_is_the_file_that_the_page_shows(copy):
    name = "dialsum_trl/models/families/granite.py"
    assert (copy / name).read_text(encoding="utf-8").endswith(CODE[name])
    (copy / name).unlink()
    found = "from dialsum_trl.models.families.registry import FUSED; print('GraniteDecoderLayer' in FUSED)"
    assert run(copy, "-c", found) == "False\n"
    append(copy, name)
    assert run(copy, "-c", found) == "True\n"


def test_a_reward_of_ones_own_is_a_dotted_name_on_the_command_line(copy, folders):
    append(copy, "my_rewards.py")
    settings = SMALL | dict(
        adapter_path=folders["sft"], train_file=DEV, output_dir=copy / "out", num_generations=2,
        gradient_accumulation_steps=1, max_completion_length=4, reward_functions=["hangul_share", "my_rewards.short"],
        reward_weights=[1.0, 0.2], logging_steps=1, eval_on_start=False, logging_first_step=True,
    )  # fmt: skip
    del settings["quantization"], settings["dtype"]
    assert "hangul_share, short" in run(copy, "recipes/grpo.py", *flags(settings))


def test_a_post_processing_rule_is_one_function(copy):
    append(copy, "dialsum_trl/data/summary_rules.py")
    rows = [(f"dev_{number}", "“네”라고 한다.") for number in range(64)]
    write_csv(copy / "mine.csv", rows, ("fname", "summary"))
    settings = {"prediction_file": "mine.csv", "test_file": DEV, "rules": "quotes"}
    printed = run(copy, "recipes/postprocess.py", *flags({**settings, "output_file": "repaired.csv", "bootstrap": 10}))
    assert re.search(r"quotes +64 ", printed)
    assert '""네""라고' in (copy / "repaired.csv").read_text(encoding="utf-8")


def test_a_rouge_tokenizer_is_one_entry(copy):
    append(copy, "dialsum_trl/metrics/tokens.py")
    code = "from dialsum_trl import *; print(score(['가나다라'], [['가나마바']], RougeConfig('pairs')).rouge1)"
    assert float(run(copy, "-c", code)) == pytest.approx(50)


def test_other_columns_are_flags(copy, toy_base):
    write_csv(copy / "mine.csv", [line[:3] for line in read_csv(DEV)[1:9]], ("번호", "대화", "요약"))
    words = re.search(r"--fname_column \S+ --dialogue_column \S+ --summary_column \S+", PAGE)[0].split()
    settings = {**SFT, "train_file": "mine.csv", "model_name_or_path": toy_base, "output_dir": "out"}
    assert "8" in run(copy, "recipes/sft_llama3b.py", *words, *flags(settings))
