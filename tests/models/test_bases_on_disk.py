"""Bases as their files are: quantized on disk, with tensors too many or too few, and with end tokens of their own."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from benchmarks.models import logits, sft
from dialsum_trl.cli.merge import merge_adapter
from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.summarizer import load_summarizer
from dialsum_trl.models.base import load_base, quantization_config
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import encode_row
from dialsum_trl.prompts.tokenizer import load_tokenizer
from tests.conftest import TINY

LLAMA = TINY / "llama"
BLOCK = 128
GEMMA = {"<|eot_id|>": "<end_of_turn>", "<|end_of_text|>": "<eos>", "<|start_header_id|>": "<start_of_turn>"}


def edit(path, **changes):
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def proj(model):
    return model.model.layers[0].self_attn.q_proj


@pytest.fixture(scope="module", params=["4bit", "8bit"])
def bits(request, tmp_path_factory):
    """The toy as bitsandbytes saves it."""
    how = {
        "4bit": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32),
        "8bit": BitsAndBytesConfig(load_in_8bit=True),
    }[request.param]
    folder = tmp_path_factory.mktemp("bnb") / request.param
    model = AutoModelForCausalLM.from_pretrained(LLAMA, quantization_config=how, dtype=torch.float32)
    model.save_pretrained(folder)
    return request.param, folder


@pytest.fixture(scope="module")
def fp8(tmp_path_factory):
    """The toy with one scale for each 128 x 128 block of its float8 projections."""
    folder = shutil.copytree(LLAMA, tmp_path_factory.mktemp("fp8") / "model")
    tensors = load_file(LLAMA / "model.safetensors")
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        weight = tensors[name].float()
        scales = torch.zeros(*(-(-side // BLOCK) for side in weight.shape))
        quantized = torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
        for i in range(scales.shape[0]):
            for j in range(scales.shape[1]):
                place = slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK)
                scales[i, j] = weight[place].abs().max() / 448
                quantized[place] = (weight[place] / scales[i, j]).to(torch.float8_e4m3fn)
        tensors |= {name: quantized, f"{name}_scale_inv": scales}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    how = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [BLOCK, BLOCK]}
    edit(folder / "config.json", quantization_config=how)
    return folder


def test_bitsandbytes_is_used_as_it_is_or_dequantized_and_never_called_otherwise(bits, tmp_path):
    own, folder = bits
    assert proj(load_base(str(folder), dtype="float32", quantization=own)).weight.dtype in (torch.uint8, torch.int8)
    other = {"4bit": "8bit", "8bit": "4bit"}[own]
    with pytest.raises(InputError, match=rf"quantized on disk by bitsandbytes \({own[0]}-bit\).*--quantization {own}"):
        load_base(str(folder), dtype="float32", quantization=other)
    plain = load_base(str(folder), dtype="float32", quantization="none")
    weight, original = proj(plain).weight, load_file(LLAMA / "model.safetensors")
    assert type(proj(plain)) is torch.nn.Linear and weight.dtype == torch.float32
    right = original["model.layers.0.self_attn.q_proj.weight"].float()
    assert (weight - right).norm() < (0.12 if own == "4bit" else 0.02) * right.norm()
    plain.save_pretrained(tmp_path)  # as merge does
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert torch.equal(proj(load_base(str(tmp_path), dtype="float32", quantization="none")).weight, weight)


def test_qlora_on_4bit_weights_from_disk_is_qlora_on_those_quantized_while_they_load(toy_base, tmp_path):
    base = shutil.copytree(toy_base, tmp_path / "bnb-4bit")
    how = quantization_config("4bit", "float32")
    AutoModelForCausalLM.from_pretrained(toy_base, quantization_config=how, dtype=torch.float32).save_pretrained(base)
    found = []
    for source in (toy_base, base):
        adapter = tmp_path / f"adapter of {source.name}"
        assert "packed, fused layers" in sft(source, adapter, quantization="4bit")
        found.append(load_file(adapter / "adapter_model.safetensors"))
    assert found[0].keys() == found[1].keys() and all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    merge_adapter(adapter, tmp_path / "merged", dtype="float32")
    predicted, merged = load_summarizer(adapter_path=str(adapter)), load_summarizer(str(tmp_path / "merged"))
    prompts = [[7, 8, 9, 10], [300, 20, 5]]
    torch.testing.assert_close(logits(predicted.model, prompts), logits(merged.model, prompts), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_fp8_is_dequantized_with_its_scales(fp8, tmp_path, dtype):
    model = load_base(str(fp8), dtype=dtype, quantization="none")
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    for name, right in load_file(LLAMA / "model.safetensors").items():
        found = model.get_parameter(name).float()  # 448 and 192 are no multiples of a block
        assert (found - right.float()).norm() <= 0.04 * right.float().norm(), name
    model.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    load_base(str(tmp_path), dtype=dtype, quantization="none")
    with pytest.raises(InputError, match="by FP8: give --quantization none"):
        load_base(str(fp8), dtype=dtype, quantization="4bit")


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
@pytest.mark.parametrize("method", ["awq", "gptq", "compressed-tensors", "torchao", "hqq", "one of tomorrow"])
def test_other_methods_are_refused_with_a_remedy_that_works(tmp_path, method, quantization):
    folder = shutil.copytree(LLAMA, tmp_path / "base")
    edit(folder / "config.json", quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(InputError, match=f"(?i)on disk by {method}.*name the unquantized model") as error:
        load_base(str(folder), quantization=quantization)
    assert "damaged" not in str(error.value)


def test_mxfp4_is_refused_for_4bit_and_names_none(tmp_path):
    folder = shutil.copytree(LLAMA, tmp_path / "base")
    edit(folder / "config.json", quantization_config={"quant_method": "mxfp4"})
    with pytest.raises(InputError, match="by MXFP4: give --quantization none"):
        load_base(str(folder), quantization="4bit")


def test_tensors_without_a_place_are_named(fp8, tmp_path):
    folder = shutil.copytree(LLAMA, tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, folder / "model.safetensors",
        {"format": "pt"},
    )  # fmt: skip
    load_base(str(folder), quantization="none")  # a buffer that older versions saved
    save_file(tensors | {"model.extra.weight": torch.ones(4)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="1 tensors that its architecture has no place for, such as model"):
        load_base(str(folder), quantization="none")


@pytest.fixture
def renamed(tmp_path):
    """The toy's tokenizer with Gemma's names: its eos is `<eos>`, and its turns end with `<end_of_turn>`."""
    folder = shutil.copytree(LLAMA, tmp_path / "gemma")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        content = (folder / name).read_text(encoding="utf-8")
        for old, new in GEMMA.items():
            content = content.replace(old, new)
        (folder / name).write_text(content, encoding="utf-8")
    edit(folder / "tokenizer_config.json", eos_token="<eos>")
    return folder


def test_stops_are_those_of_template_tokenizer_and_generation_config(renamed):
    tokenizer = load_tokenizer(str(renamed))
    turn, text = tokenizer.convert_tokens_to_ids(["<end_of_turn>", "<eos>"])
    assert stop_token_ids(tokenizer) == [turn, text]
    row, _ = encode_row(tokenizer, "#Person1#: 안녕", "인사한다.", stop_token_ids(tokenizer))
    assert row["labels"][-1] == turn

    other = tokenizer.convert_tokens_to_ids("<|end_header_id|>")
    edit(renamed / "generation_config.json", eos_token_id=other)  # one id, of which neither template nor eos know
    assert stop_token_ids(load_tokenizer(str(renamed))) == [turn, text, other]
    edit(renamed / "generation_config.json", eos_token_id=[2, other])  # 2 is a piece of text
    assert stop_token_ids(load_tokenizer(str(renamed))) == [turn, text, other]
    (renamed / "generation_config.json").unlink()
    assert stop_token_ids(load_tokenizer(str(renamed))) == [turn, text]


def test_training_ends_at_the_end_of_turn_where_the_template_writes_more(renamed):
    template = (renamed / "chat_template.jinja").read_text(encoding="utf-8")
    more = "{%- if not add_generation_prompt -%}{{ '\n' + eos_token }}{%- endif -%}"  # as Phi 3's
    (renamed / "chat_template.jinja").write_text(template + more, encoding="utf-8")
    tokenizer = load_tokenizer(str(renamed))
    stops = stop_token_ids(tokenizer)
    row, _ = encode_row(tokenizer, "#Person1#: 안녕", "인사한다.", stops)
    assert row["labels"][-1] == stops[0] == tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert tokenizer.eos_token_id not in row["labels"]
