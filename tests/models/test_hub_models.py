"""Bases and adapters of the Hub: what is fetched, what is refused before any weights come, what the cache gives."""

import shutil

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.adapter_settings import adapter_settings
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.base import load_base
from tests.hub_server import HubServer
from tests.models import test_hostile_folders as hostile

REPO = "tester/llama-dialsum"
BASE = "acme/toy-llama"
WEIGHTS, PICKLE = "adapter_model.safetensors", "adapter_model.bin"
base, adapter = hostile.base, hostile.adapter  # fixtures


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub with an empty cache before it."""
    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
        yield server


@pytest.fixture
def bare(toy_base):
    return AutoModelForCausalLM.from_pretrained(toy_base)


def publish(server, folder, repo: str = REPO) -> None:
    server.add_repo(repo, {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})


def test_a_base_of_the_hub_loads_as_its_folder_does(server, base):
    publish(server, base, BASE)
    here, there = (load_base(name, quantization="none", dtype="float32").state_dict() for name in (str(base), BASE))
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_an_adapter_of_the_hub_is_read_as_a_folder_is_and_without_the_hub_from_the_cache(
    server, trained_adapter, bare, monkeypatch
):
    publish(server, trained_adapter)
    assert adapter_settings(REPO) == adapter_settings(str(trained_adapter))
    asked = len(server.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert adapter_settings(REPO) == adapter_settings(str(trained_adapter))
    loaded = load_adapter(bare, REPO).state_dict()
    saved = load_file(trained_adapter / WEIGHTS)
    assert all(torch.equal(loaded[name.replace(".weight", ".default.weight")], saved[name]) for name in saved)
    assert len(server.requests) == asked


def test_of_an_adapter_of_the_hub_it_and_its_tokenizer_are_fetched_and_nothing_else(server, adapter, tmp_path):
    torch.save({}, adapter / PICKLE)
    publish(server, adapter)
    adapter_settings(REPO)
    found = {path.name for path in (tmp_path / "cache").rglob("snapshots/*/*")}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert found == {"adapter_config.json", WEIGHTS, "dialsum.json", *tokenizer}


def test_an_adapter_of_the_hub_that_is_a_pickle_only_is_refused(server, adapter, bare):
    hostile.to_pickle(adapter)
    publish(server, adapter)
    for use in (lambda: adapter_settings(REPO), lambda: load_adapter(bare, REPO)):
        with pytest.raises(InputError, match=r"a pickle \(adapter_model\.bin\) can run code, only safetensors"):
            use()


def test_a_cached_adapter_that_is_a_pickle_only_is_refused_without_the_hub(adapter, bare, tmp_path, monkeypatch):
    hostile.to_pickle(adapter)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache" / "models--tester--llama-dialsum"
    shutil.copytree(adapter, repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    for use in (lambda: adapter_settings(REPO), lambda: load_adapter(bare, REPO)):
        with pytest.raises(InputError, match="only safetensors are read"):
            use()


@pytest.mark.parametrize("name", ["tester/nowhere", "a/b/c"])
def test_an_adapter_that_is_nowhere_is_one_clear_line(name, server, bare):
    with pytest.raises(
        InputError, match=f"--adapter_path {name}: no such folder, and the Hub does not give it"
    ) as error:
        load_adapter(bare, name)
    assert "\n" not in str(error.value) and str(error.value).endswith("or the Hub id of an adapter")
