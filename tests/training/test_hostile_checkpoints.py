"""Checkpoints made to do harm: no code in them runs when training goes on."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.file_names import MANIFEST
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.checkpoints.manifest import seal
from tests.bad_inputs.models import Exploit
from tests.conftest import TINY

SFT_FLAGS = dict(
    dtype="float32", quantization="none", use_cpu=True, rouge_rows=0, per_device_train_batch_size=2, fast=False,
    effective_batch_size=2, learning_rate=1e-2, optim="adamw_torch", save_strategy="steps", save_steps=2,
    eval_strategy="steps", eval_steps=2, warmup_steps=0, train_file=str(TINY / "data" / "dev.csv"),
    eval_file=str(TINY / "data" / "test.csv"),
)  # fmt: skip


@pytest.fixture(scope="module")
def halfway(toy_base, tmp_path_factory):
    """A run of two steps with its checkpoint."""
    folder = tmp_path_factory.mktemp("halfway") / "run"
    train_sft({**SFT_FLAGS, "model_name_or_path": str(toy_base), "output_dir": str(folder), "max_steps": 4}, [])
    shutil.rmtree(folder / "checkpoint-4")
    return folder


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_no_pickle_of_a_checkpoint_is_run_when_training_goes_on(name, halfway, toy_base, tmp_path):
    folder = shutil.copytree(halfway, tmp_path / "run")
    checkpoint = folder / "checkpoint-2"
    assert (checkpoint / name).exists()

    torch.save(Exploit(tmp_path / "owned"), checkpoint / name)
    (checkpoint / MANIFEST).unlink()
    seal(checkpoint)  # an attacker would
    settings = {**SFT_FLAGS, "model_name_or_path": str(toy_base), "output_dir": str(folder), "max_steps": 4}
    with pytest.raises(InputError, match="could run code"):
        train_sft({**settings, "resume_from_checkpoint": "true"}, [])
    assert not (tmp_path / "owned").exists()


def test_the_pickled_arguments_of_a_checkpoint_are_never_read(halfway, toy_base, tmp_path):
    """transformers writes them, and nothing here needs them."""
    folder = shutil.copytree(halfway, tmp_path / "run")
    torch.save(Exploit(tmp_path / "owned"), folder / "checkpoint-2" / "training_args.bin")
    (folder / "checkpoint-2" / "files.json").unlink()
    seal(folder / "checkpoint-2")
    settings = {**SFT_FLAGS, "model_name_or_path": str(toy_base), "output_dir": str(folder), "max_steps": 4}
    assert train_sft({**settings, "resume_from_checkpoint": "true"}, [])["optimizer steps"] == 4
    assert not (tmp_path / "owned").exists()


def sealed_again(checkpoint: Path) -> None:
    """As an attacker would: `files.json` says that a checkpoint is whole, not who made it."""
    (checkpoint / MANIFEST).unlink()
    seal(checkpoint)


def go_on(folder: Path, toy_base, **changes):
    settings = {**SFT_FLAGS, "model_name_or_path": str(toy_base), "output_dir": str(folder), "max_steps": 4, **changes}
    return train_sft({**settings, "resume_from_checkpoint": "true"}, [])


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
@pytest.mark.parametrize("name", ["../../elsewhere.safetensors", "/etc/hostname", "sub/x.safetensors"])
def test_an_index_of_a_checkpoint_cannot_name_files_elsewhere(index, name, halfway, toy_base, tmp_path):
    folder = shutil.copytree(halfway, tmp_path / "run")
    (folder / "checkpoint-2" / index).write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}))
    sealed_again(folder / "checkpoint-2")
    with pytest.raises(InputError, match="which is not in its folder"):
        go_on(folder, toy_base)


def name_best(folder: Path, path: str) -> None:
    file = folder / "checkpoint-2" / "trainer_state.json"
    state = json.loads(file.read_text()) | {"best_model_checkpoint": path, "best_global_step": 2, "best_metric": -1e9}
    file.write_text(json.dumps(state))
    sealed_again(folder / "checkpoint-2")


def test_the_best_checkpoint_is_one_of_the_run_whatever_path_its_state_names(halfway, toy_base, tmp_path):
    folder, elsewhere = shutil.copytree(halfway, tmp_path / "run"), tmp_path / "elsewhere" / "checkpoint-2"
    shutil.copytree(folder / "checkpoint-2", elsewhere)
    weights = load_file(elsewhere / "adapter_model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, elsewhere / "adapter_model.safetensors")
    sealed_again(elsewhere)
    name_best(folder, str(elsewhere))
    go_on(folder, toy_base)
    left, own = (load_file(path / "adapter_model.safetensors") for path in (folder, folder / "checkpoint-2"))
    assert all(torch.equal(left[name], own[name]) for name in own)


def test_the_exploit_of_these_tests_works_where_pickles_are_trusted(tmp_path):
    pickle.loads(pickle.dumps(Exploit(tmp_path / "owned"))).close()
    assert (tmp_path / "owned").exists()
