"""An adapter goes onto the base that it was trained on, wherever that lies; another one is refused or told."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialsum_trl.cli.merge import merge_adapter
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_json
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.adapter_settings import compare_with_adapter, use_adapter_settings
from dialsum_trl.stages.decoding_sweep import decoding_sweep
from dialsum_trl.stages.ensemble import ensemble
from dialsum_trl.stages.jobs.sft import adjust
from tests.conftest import TINY


def settings(adapter, base, **more) -> dict:
    named = {"adapter_path": str(adapter), "model_name_or_path": str(base), "model_revision": "main"}
    return {**named, "prompt_style": "native", "dtype": "float32", "quantization": "none", **more}


def compare(adapter, base, capsys, given=("model_name_or_path",), **more) -> str:
    """What is printed when the user names `base`."""
    compare_with_adapter(settings(adapter, base, **more), set(given))
    return capsys.readouterr().out


def test_a_copy_and_a_link_of_the_base_are_the_base(trained_adapter, toy_base, tmp_path, capsys):
    shutil.copytree(toy_base, tmp_path / "moved")
    (tmp_path / "linked").symlink_to(toy_base)
    for base in (toy_base, tmp_path / "moved", tmp_path / "linked"):
        assert compare(trained_adapter, base, capsys) == ""


def test_a_relative_path_to_the_base_is_the_base(trained_adapter, toy_base, capsys, monkeypatch):
    monkeypatch.chdir(toy_base.parent)
    assert compare(trained_adapter, toy_base.name, capsys) == ""


def test_other_weights_of_the_same_architecture_are_told(trained_adapter, toy_base, tmp_path, capsys):
    other = shutil.copytree(toy_base, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors = {name: torch.ones_like(tensor) for name, tensor in tensors.items()}
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    [line] = compare(trained_adapter, other, capsys).splitlines()
    assert line.startswith("warning: ") and str(toy_base) in line and str(other) in line and "other weights" in line


def test_a_base_that_is_not_at_hand_is_told(trained_adapter, tmp_path, toy_base, capsys):
    adapter = shutil.copytree(trained_adapter, tmp_path / "adapter")
    write_json(adapter / "dialsum.json", read_json(adapter / "dialsum.json", "") | {"base_model": "acme/toy-llama"})
    [line] = compare(adapter, toy_base, capsys).splitlines()
    assert "acme/toy-llama" in line and str(toy_base) in line and "not both are here" in line


def test_another_model_is_refused_with_both_names(trained_adapter, toy_base, capsys):
    with pytest.raises(InputError, match="model_type llama and qwen3") as error:
        compare(trained_adapter, TINY / "qwen3", capsys)
    assert str(toy_base) in str(error.value) and str(TINY / "qwen3") in str(error.value)


def sft_settings(adapter, base, **more) -> dict:
    values = settings(adapter, base, use_cpu=True, bf16=False, fp16=False, optim="adamw_torch")
    values |= dict(eval_file=None, dataset_name=None, rouge_rows=0, eval_strategy="no", save_strategy="no")
    return values | dict(max_length=1024, metric_for_best_model=None, load_best_model_at_end=False) | more


def test_training_on_from_an_adapter_compares_the_recipes_own_base_too(trained_adapter):
    with pytest.raises(InputError, match="is another model"):
        adjust(sft_settings(trained_adapter, TINY / "qwen3"), set())


@pytest.fixture
def instructed(trained_adapter, tmp_path):
    """An adapter that was trained under the instruction prompt."""
    adapter = shutil.copytree(trained_adapter, tmp_path / "adapter")
    write_json(adapter / "dialsum.json", read_json(adapter / "dialsum.json", "") | {"prompt_style": "instruction"})
    return adapter


def test_training_on_from_an_adapter_follows_its_prompt_style(instructed, toy_base, capsys):
    values = sft_settings(instructed, toy_base)
    adjust(values, set())
    assert values["prompt_style"] == "instruction"
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("--prompt_style instruction: ") and str(instructed) in line


def test_a_prompt_style_that_the_user_names_wins_with_a_warning(instructed, toy_base, capsys):
    values = sft_settings(instructed, toy_base)
    adjust(values, {"prompt_style"})
    assert values["prompt_style"] == "native"
    assert "trained with --prompt_style instruction and is used with native" in capsys.readouterr().out


def test_another_prompt_style_is_told(trained_adapter, toy_base, capsys):
    given = ("prompt_style",)
    [line] = compare(trained_adapter, toy_base, capsys, given, prompt_style="instruction").splitlines()
    assert "was trained with --prompt_style native and is used with instruction" in line
    assert compare(trained_adapter, toy_base, capsys, given, prompt_style="native") == ""


def test_what_the_user_does_not_name_follows_the_record(trained_adapter, toy_base, capsys):
    values = settings(trained_adapter, "other/base", prompt_style="instruction")
    use_adapter_settings(values, set())
    assert (values["model_name_or_path"], values["prompt_style"]) == (str(toy_base), "native")
    assert capsys.readouterr().out == ""


def test_the_revision_of_the_recorded_base_is_not_asked_of_another(trained_adapter, tmp_path, capsys):
    adapter = shutil.copytree(trained_adapter, tmp_path / "adapter")
    recorded = {"base_model": "acme/toy-llama", "base_revision": "a" * 40}
    write_json(adapter / "dialsum.json", read_json(adapter / "dialsum.json", "") | recorded)
    values = settings(adapter, "acme/other")
    use_adapter_settings(values, {"model_name_or_path"})
    assert values["model_revision"] == "main"
    values = settings(adapter, "acme/toy-llama")
    use_adapter_settings(values, {"model_name_or_path"})
    assert values["model_revision"] == "a" * 40


def merge_there(adapter, other, dev, output):
    merge_adapter(adapter, output, model=str(other))


def soup_there(adapter, other, dev, output):
    ensemble({}, ["--adapter_paths", str(adapter), str(adapter), "--model_name_or_path", str(other)])


def sweep_there(adapter, other, dev, output):
    flags = ["--adapter_paths", str(adapter), "--model_name_or_path", str(other), "--eval_file", str(dev)]
    decoding_sweep({}, [*flags, "--use_cpu", "true", "--output_dir", str(output)])


@pytest.mark.parametrize("use", [merge_there, soup_there, sweep_there])
def test_no_stage_puts_an_adapter_on_another_model(use, trained_adapter, tmp_path):
    with pytest.raises(InputError, match=r"was trained on .* is another model"):
        use(trained_adapter, TINY / "qwen3", TINY / "data" / "dev.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()
