"""`dialsum recipes` and `dialsum demo`: what came with the package, where it can be run."""

import zipfile

import pytest
import yaml
from setuptools.build_meta import build_wheel

from dialsum_trl.cli import recipes
from dialsum_trl.cli.demo import run_demo
from dialsum_trl.cli.recipes import copy_recipes
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.resolve import read_recipe
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copied") / "mine"
    copy_recipes(folder)
    return folder


def test_a_copy_holds_every_recipe_and_every_accelerate_config(copied):
    for name in ("recipes", "accelerate_configs"):
        ours = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*.*") if "__pycache__" not in path.parts}
        assert ours == {path.relative_to(copied) for path in (copied / name).rglob("*.*")}


def test_the_demo_settings_of_a_copy_name_the_toy_where_it_is_installed(copied):
    settings = read_recipe(copied / "recipes" / "sft_llama3b.py", str(copied / "recipes" / "demo.yaml")).values
    assert settings["model_name_or_path"] == str(ROOT / "dialsum_trl" / "toy" / "llama")
    assert yaml.safe_load((copied / "recipes" / "demo.yaml").read_text())["predict"]["test_file"].startswith("/")


def test_a_folder_that_holds_recipes_is_refused(copied):
    with pytest.raises(InputError, match="recipes: exists; nothing is overwritten"):
        run_demo(copied)


def test_the_list_has_a_line_per_recipe(capsys):
    recipes.list_recipes()
    printed = capsys.readouterr().out
    assert "sft_llama3b" in printed and "QLoRA SFT of Llama-3.2" in printed
    assert len(printed.splitlines()) == len(list((ROOT / "recipes").glob("*.py")))


def test_the_wheel_carries_recipes_configs_toy_and_the_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = {"--build-option": ["--bdist-dir", str(tmp_path / "bdist")]}
    names = zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path), settings)).namelist()
    shipped = {name.removeprefix("dialsum_trl/shipped/") for name in names if "/shipped/" in name}
    assert {"recipes/sft_llama3b.py", "recipes/demo.yaml", "accelerate_configs/cpu.yaml", "toy/story.py"} <= shipped
    assert "dialsum_trl/toy/llama/model.safetensors" in names and not [n for n in names if n.startswith("tests")]
