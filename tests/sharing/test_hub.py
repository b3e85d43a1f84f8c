"""Pushing and loading back through the real client against a Hub on loopback; faults; what travels and what not."""

import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer
from trl import SFTConfig

from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments
from dialsum_trl.sharing import upload
from dialsum_trl.sharing.push import push as push_folder
from dialsum_trl.sharing.record import run_record

REPO = "tester/llama-dialsum"
BASE = "acme/toy-llama"


def push(folder, repo_id=REPO, **kwargs):
    return push_folder(folder, repo_id, **{"base": BASE, **kwargs})


def test_a_push_holds_the_adapter_its_tokenizer_card_curve_and_record_and_nothing_else(server, trained_adapter):
    assert push(trained_adapter) == REPO
    assert set(server.repos[REPO].files) - {".gitattributes"} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "dialsum.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training_curve.svg",
    }
    sent = (trained_adapter / "adapter_model.safetensors").read_bytes()
    assert server.repos[REPO].files["adapter_model.safetensors"] == sent


def test_a_push_is_private_unless_asked_otherwise(server, trained_adapter):
    push(trained_adapter)
    assert server.repos[REPO].private
    push(trained_adapter, "tester/open", private=False, base=BASE)
    assert not server.repos["tester/open"].private


def test_a_public_push_into_a_private_repository_says_that_it_stays_private(server, trained_adapter, capsys):
    push(trained_adapter)
    push(trained_adapter, private=False)
    assert server.repos[REPO].private
    assert capsys.readouterr().out.splitlines()[-1].endswith("(private)")


def test_a_private_push_into_a_public_repository_is_refused(server, trained_adapter):
    server.add_repo(REPO, {"README.md": b"public"})
    with pytest.raises(InputError, match="is public"):
        push(trained_adapter)
    assert server.repos[REPO].files == {"README.md": b"public"}


def test_a_bare_name_goes_to_the_owner_of_the_token(server, trained_adapter):
    assert push(trained_adapter, "mine", base=BASE) == "tester/mine"


def test_no_request_body_and_no_pushed_file_holds_a_local_path_or_the_token(server, trained_adapter, toy_base, capsys):
    push(trained_adapter)
    everything = b"".join(body for _, _, body in server.requests)
    everything += b"".join(server.repos[REPO].files.values())
    for private in (str(toy_base), str(trained_adapter), str(toy_base.parent.parent), server.token):
        assert private.encode() not in everything
    assert server.authenticated > 0
    printed = capsys.readouterr()
    assert server.token not in printed.out + printed.err
    assert not any(server.token.encode() in f.read_bytes() for f in trained_adapter.rglob("*") if f.is_file())


def test_a_base_folder_is_recorded_so_that_it_is_found_from_anywhere(toy_base, monkeypatch):
    monkeypatch.chdir(toy_base.parent)
    tokenizer = AutoTokenizer.from_pretrained(toy_base)
    args = SFTConfig(output_dir="unused", use_cpu=True, bf16=False)
    trainer = SimpleNamespace(model=SimpleNamespace(config=AutoConfig.from_pretrained(toy_base)), args=args)
    trainer.state, trainer.train_dataset = SimpleNamespace(global_step=1), []
    trainer.rows_per_step, trainer.dev_rouge = 64, None
    model_args = ModelArguments(model_name_or_path=toy_base.name)
    record = run_record(trainer, {}, tokenizer=tokenizer, model_args=model_args, prompt=PromptArguments())
    assert record["base_model"] == str(toy_base)


def test_what_is_pushed_names_the_base_by_repository_and_commit(server, trained_adapter):
    commit = "0123456789" * 4
    push(trained_adapter, base=f"{BASE}@{commit}")
    files = server.repos[REPO].files
    config, record = json.loads(files["adapter_config.json"]), json.loads(files["dialsum.json"])
    assert (config["base_model_name_or_path"], config["revision"]) == (BASE, commit)
    assert (record["base_model"], record["base_revision"]) == (BASE, commit)
    assert f"base_model: {BASE}\n" in files["README.md"].decode()


def test_a_base_folder_of_unknown_source_must_be_named(server, trained_adapter):
    with pytest.raises(InputError, match="--base owner/name"):
        push(trained_adapter, base=None)
    assert server.requests == []


@pytest.mark.parametrize(
    ("request_start", "kind"),
    [
        ("POST /api/repos/create", "500"),
        ("POST /api/validate-yaml", "html"),
        (f"POST /api/models/{REPO}/preupload", "500"),
        (f"POST /{REPO}.git/info/lfs", "500"),
        ("PUT /lfs/", "reset"),
        ("PUT /lfs/", "500"),
        (f"POST /api/models/{REPO}/commit", "reset"),
        (f"POST /api/models/{REPO}/commit", "500"),
    ],
)
def test_a_push_outlives_a_request_that_breaks_once(server, trained_adapter, request_start, kind):
    server.fail(request_start, kind)
    push(trained_adapter)
    sent = (trained_adapter / "adapter_model.safetensors").read_bytes()
    assert server.repos[REPO].files["adapter_model.safetensors"] == sent
    assert server.seen(f"POST /api/models/{REPO}/commit") <= 2


def test_a_hub_that_stays_broken_ends_in_one_clear_line_and_loses_nothing(server, trained_adapter, tmp_path):
    folder = shutil.copytree(trained_adapter, tmp_path / "adapter")
    server.fail(f"POST /api/models/{REPO}/commit", "500", times=99)
    with pytest.raises(InputError, match=r"push to tester/llama-dialsum failed: .*Nothing was lost") as error:
        push(folder)
    assert "\n" not in str(error.value)
    for file in trained_adapter.iterdir():
        assert file.is_dir() or (folder / file.name).read_bytes() == file.read_bytes()


def test_a_later_push_continues_without_sending_large_files_again(server, trained_adapter):
    server.fail(f"POST /api/models/{REPO}/commit", "500", times=len(upload.WAITS) + 1)
    with pytest.raises(InputError, match="Nothing was lost"):
        push(trained_adapter)
    uploads = server.seen("PUT /lfs/")
    push(trained_adapter)
    assert server.seen("PUT /lfs/") == uploads
    assert "adapter_model.safetensors" in server.repos[REPO].files


def test_a_hub_that_does_not_answer_is_given_up_after_the_time_limit(server, trained_adapter, monkeypatch):
    monkeypatch.setattr(upload, "TIMEOUT", 0.2)
    server.fail("POST /api/repos/create", "slow", times=99)
    with pytest.raises(InputError, match="does not answer"):
        push(trained_adapter)


def test_a_refusal_is_not_tried_again(server, trained_adapter):
    server.fail(f"POST /api/models/{REPO}/preupload", "403", times=99)
    with pytest.raises(InputError, match="may write there"):
        push(trained_adapter)
    assert server.seen(f"POST /api/models/{REPO}/preupload") == 1


def test_a_wrong_token_is_refused_without_being_shown(server, trained_adapter, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrong")
    with pytest.raises(InputError, match="401") as error:
        push(trained_adapter)
    printed = capsys.readouterr()
    assert "hf_wrong" not in str(error.value) + printed.out + printed.err


def test_without_a_token_nothing_is_sent(server, trained_adapter, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="HF_TOKEN"):
        push(trained_adapter)
    assert server.requests == []


def test_an_adapter_that_learned_nothing_is_not_pushed(server, trained_adapter, tmp_path):
    folder = shutil.copytree(trained_adapter, tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    zero = {name: tensor * 0 if "lora_B" in name else tensor for name, tensor in weights.items()}
    save_file(zero, folder / "adapter_model.safetensors")
    with pytest.raises(TrainingError, match="learned nothing"):
        push(folder)
    assert server.requests == []


@pytest.mark.slow
def test_the_adapter_loads_back_with_equal_logits_by_the_snippet_of_its_card(
    server, trained_adapter, toy_base, tmp_path
):
    """In a fresh process, as a stranger would: base and adapter come from the Hub, the code from the card."""
    commit = server.add_repo(BASE, {file.name: file.read_bytes() for file in toy_base.iterdir()}).head
    push(trained_adapter, base=f"{BASE}@{commit}")
    card = server.repos[REPO].files["README.md"].decode()
    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    compare = f"""
import torch
from transformers import AutoModelForCausalLM
local = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({str(toy_base)!r}), {str(trained_adapter)!r})
with torch.no_grad():
    assert torch.equal(local(**inputs).logits, model(**inputs).logits)
print("EQUAL", model.peft_config["default"].revision)
"""
    (tmp_path / "stranger.py").write_text(snippet + compare, encoding="utf-8")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": server.token,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }
    run = subprocess.run(
        [sys.executable, tmp_path / "stranger.py"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert f"EQUAL {commit}" in run.stdout, run.stdout + run.stderr
    assert server.token not in run.stdout + run.stderr


@pytest.mark.parametrize("name", ["a/b/c", "tester/with space", "tester/-x"])
def test_a_name_that_is_none_is_one_clear_line(server, trained_adapter, name):
    with pytest.raises(InputError, match="failed: "):
        push(trained_adapter, name, base=BASE)


def test_a_failure_inside_the_xet_library_is_tried_again_and_then_one_line(server, trained_adapter, monkeypatch):
    tried = []

    def broken(*args, **kwargs):  # what hf_xet raises when its storage does not answer
        tried.append(1)
        raise RuntimeError("Data processing error: CAS service error")

    monkeypatch.setattr(HfApi, "create_commit", broken)
    with pytest.raises(InputError, match=r"CAS service error.*Nothing was lost"):
        push(trained_adapter)
    assert len(tried) == len(upload.WAITS) + 1
