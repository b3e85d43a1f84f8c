"""Folders of strangers: bases, adapters, checkpoints and what is pushed name no file elsewhere, are what they say."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.file_names import MANIFEST
from dialsum_trl.training.checkpoints.choose import choose
from dialsum_trl.training.checkpoints.manifest import flaw, seal
from dialsum_trl.training.estimate import known_shape

WEIGHTS, PICKLE = "adapter_model.safetensors", "adapter_model.bin"


@pytest.fixture
def base(toy_base, tmp_path):
    return shutil.copytree(toy_base, tmp_path / "base")


@pytest.fixture
def adapter(trained_adapter, tmp_path):
    return shutil.copytree(trained_adapter, tmp_path / "adapter")


def change(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def to_pickle(folder) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / PICKLE)
    (folder / WEIGHTS).unlink()


# Bases


def test_an_estimate_neither_runs_nor_asks_about_the_code_of_a_model(base, tmp_path, monkeypatch):
    code = f"from transformers import LlamaConfig\nopen({str(tmp_path / 'owned')!r}, 'w').close()\n"
    (base / "strange.py").write_text(f"{code}class Strange(LlamaConfig):\n    model_type = 'strange'\n")
    change(base / "config.json", model_type="strange", auto_map={"AutoConfig": "strange.Strange"})
    monkeypatch.setattr("builtins.input", lambda *question: "y")
    with pytest.raises(InputError, match="brings Python files of its own, which are not run"):
        known_shape(str(base), "main", 16, "4bit")
    assert not (tmp_path / "owned").exists()


def test_the_size_of_a_model_that_is_not_here_is_unknown():
    assert known_shape("acme/nowhere", "main", 16, "4bit") is None


# Checkpoints


@pytest.fixture
def checkpoint(adapter, tmp_path):
    """What a checkpoint is to `choose`: an adapter with a state, sealed."""
    folder = shutil.copytree(adapter, tmp_path / "run" / "checkpoint-2", ignore=shutil.ignore_patterns("checkpoint-*"))
    (folder / "trainer_state.json").write_text("{}")
    torch.save({}, folder / "rng_state.pth")
    return folder


def continued_from(checkpoint):
    (checkpoint / MANIFEST).unlink(missing_ok=True)
    seal(checkpoint)
    return choose(checkpoint.parent, "true")[0]


def test_a_checkpoint_whose_adapter_is_a_pickle_only_is_not_continued(checkpoint):
    assert continued_from(checkpoint) == checkpoint
    to_pickle(checkpoint)
    with pytest.raises(InputError, match=r"holds its weights as a pickle \(adapter_model\.bin\)"):
        continued_from(checkpoint)


def test_neither_is_one_with_such_an_adapter_in_a_folder_of_its_own(checkpoint):
    shutil.copytree(checkpoint, checkpoint / "critic")
    to_pickle(checkpoint / "critic")
    with pytest.raises(InputError, match=r"critic: holds its weights as a pickle"):
        continued_from(checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_neither_is_one_whose_model_is_a_pickle_only(name, checkpoint):
    if name.endswith(".json"):
        (checkpoint / name).write_text(json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}))
    else:
        torch.save({}, checkpoint / name)
    with pytest.raises(InputError, match=f"holds its weights as a pickle .{name}"):
        continued_from(checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model_fsdp.bin", PICKLE])
def test_a_pickle_that_is_not_read_or_is_fsdps_own_does_no_harm(name, checkpoint):
    torch.save({}, checkpoint / name)
    assert continued_from(checkpoint) == checkpoint


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"a": {}}', "", "\ud800"])
def test_a_list_of_a_checkpoint_that_is_none_is_damaged(content, checkpoint):
    (checkpoint / MANIFEST).write_bytes(content.encode("utf-8", "surrogatepass"))
    assert flaw(checkpoint).startswith("its files.json is damaged")


# Files without an end
