"""A run that pushes when it is done: what it refuses before training, where it goes, and what it sends."""

import json
import shutil
import subprocess
import sys

import pytest
from trl import SFTConfig

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.sharing.push import plan_push
from tests.conftest import ROOT, TINY
from tests.hub_server import HubServer

BASE = "acme/toy-llama"


def test_a_run_with_push_to_hub_is_refused_before_training_without_a_token(server, trained_adapter, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    args = SFTConfig(output_dir="unused", push_to_hub=True, use_cpu=True, bf16=False)
    with pytest.raises(InputError, match="HF_TOKEN"):
        plan_push(args, ModelArguments(model_name_or_path=BASE))


def test_the_trainers_own_uploads_are_switched_off(server):
    args = SFTConfig(output_dir="unused", push_to_hub=True, use_cpu=True, bf16=False)
    plan_push(args, ModelArguments(model_name_or_path=BASE))
    assert not args.push_to_hub


def test_a_run_without_push_to_hub_pushes_nothing(server, trained_adapter):
    args = SFTConfig(output_dir=str(trained_adapter), use_cpu=True, bf16=False)
    plan_push(args, ModelArguments(model_name_or_path=BASE))()
    assert server.requests == []


def test_a_planned_push_is_private_and_goes_where_the_flags_say(server, trained_adapter, tmp_path):
    run = shutil.copytree(trained_adapter, tmp_path / "run")
    record = json.loads((run / "dialsum.json").read_text(encoding="utf-8"))
    record["base_origin"] = {"repo_id": BASE, "commit": None}
    (run / "dialsum.json").write_text(json.dumps(record), encoding="utf-8")
    flags = dict(push_to_hub=True, hub_model_id="tester/planned", use_cpu=True, bf16=False)
    args = SFTConfig(output_dir=str(run), **flags)
    plan_push(args, ModelArguments(model_name_or_path=BASE))()
    assert server.repos["tester/planned"].private


def test_a_token_in_a_flag_is_an_error():
    args = SFTConfig(output_dir="unused", hub_token="hf_x", use_cpu=True, bf16=False)
    with pytest.raises(InputError, match="HF_TOKEN") as error:
        plan_push(args, ModelArguments(model_name_or_path=BASE))
    assert "hf_x" not in str(error.value)


@pytest.mark.slow
def test_a_recipe_that_pushes_sends_one_commit_without_checkpoints_or_training_arguments(toy_base, tmp_path):
    base = shutil.copytree(toy_base, tmp_path / "Qwen2.5-7B-Instruct")  # a folder whose name tells its repository
    rows = TINY / "data" / "dev.csv"
    with HubServer() as server:
        environment = server.environment(tmp_path / "home")
        flags = f"--model_name_or_path {base} --train_file {rows} --output_dir {tmp_path / 'run'} --use_cpu true "
        flags += (
            "--dtype float32 --quantization none --max_steps 2 --save_strategy steps --save_steps 1 --rouge_rows 0 "
        )
        flags += "--effective_batch_size 2 --per_device_train_batch_size 2 --push_to_hub true --hub_model_id tester/run"
        command = [sys.executable, str(ROOT / "recipes" / "sft_llama3b.py"), *flags.split()]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
        assert run.returncode == 0, run.stdout + run.stderr
        repo = server.repos["tester/run"]
        assert len(repo.commits) == 2  # the empty repository and the push
        assert not [name for name in repo.files if "checkpoint" in name or name.endswith(".bin")]
        assert "base_model: Qwen/Qwen2.5-7B-Instruct" in repo.files["README.md"].decode()
        everything = b"".join(body for _, _, body in server.requests) + (run.stdout + run.stderr).encode()
        everything += b"".join(file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file())
        assert server.token.encode() not in everything
        assert not any(str(tmp_path).encode() in content for content in repo.files.values())
