"""The facts of each model family, held to their sources: transformers' classes, TRL's templates, real vocabularies."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trl
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.utils.chat_template_utils import render_jinja_template

from dialsum_trl.models.families.gemma import GEMMA4_CHAT, GEMMA_CHAT
from dialsum_trl.models.families.llama import LLAMA_CHAT
from dialsum_trl.models.families.phi import PHI3
from dialsum_trl.models.families.qwen import CHATML
from dialsum_trl.models.families.registry import (
    CHATS,
    CHECKPOINTS,
    FAMILIES,
    FUSED,
    PADS,
    SIZED,
    TEXT_ENDS,
    chat_of,
    checkpoint_of,
    family_of,
    named_like,
)
from tests.conftest import ROOT

TEMPLATES = {
    "llama3": LLAMA_CHAT,
    "llama3_1": LLAMA_CHAT,
    "llama3_2": LLAMA_CHAT,
    "qwen2_5": CHATML,
    "qwen3": CHATML,
    "qwen3_instruct_2507": CHATML,
    "gemma": GEMMA_CHAT,
    "gemma3": GEMMA_CHAT,
    "gemma4": GEMMA4_CHAT,
    "gemma4_v5": GEMMA4_CHAT,
    "phi3": PHI3.chat,
    "phi3_5": PHI3.chat,
}
TURNS = [{"role": "user", "content": "요약"}, {"role": "assistant", "content": "인사한다."}]
OWN_CODE = {"exaone"}  # model types that transformers has no class for
# of a model name where it decides something; not tools (llama.cpp) and recipes that are named after theirs
NAMES = re.compile(
    r"(?<!o)llama(?![._-]cpp|-server|_FTYPE)|qwen|gemma|exaone|mistral|bllossom|<\|im_|<\|eot|<\|end_of_text|<\|endoftext",
    re.I,
)


def template(name: str) -> str:
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def types():
    """A pair of each family and model type that transformers knows, encoder-decoders left out."""
    return [
        (family, kind)
        for family in FAMILIES
        if family.layers or family.chat
        for kind in family.model_types
        if kind not in OWN_CODE
    ]


def decoder(model_type: str):
    """A random model of that type and its decoder layers."""
    sizes = dict(vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8, pad_token_id=0)
    sizes |= dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1)
    if model_type.startswith("gemma4"):
        sizes |= dict(vocab_size_per_layer_input=32, hidden_size_per_layer_input=8, num_kv_shared_layers=0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes))
    return model, model.model.layers


@pytest.mark.parametrize(("name", "chat"), TEMPLATES.items())
def test_a_native_template_is_told_by_what_it_writes_and_writes_nothing_else_as_control_tokens(name, chat):
    assert chat_of(template(name)) is chat
    bos = {"bos_token": next((token for token in chat.tokens if token in ("<bos>", "<|begin_of_text|>")), "")}
    turns = [{"role": "system", "content": "간단히"}] * chat.system + TURNS
    [text], _ = render_jinja_template([turns], chat_template=template(name), **bos)
    for token in chat.tokens:
        assert token in text
    assert text.rstrip("\n").endswith(f"인사한다.{chat.turn_end}")
    written = set(re.findall(r"<\|?[a-z_]+\|?>", text)) - {"<think>"}  # of hybrid models
    assert written == set(chat.tokens)


def test_every_format_is_told_apart_from_the_others():
    assert [chat_of(chat.opens) for chat in CHATS] == list(CHATS)
    assert chat_of(None) is None and chat_of("### Instruction:") is None


@pytest.mark.parametrize("name", ["llama3", "llama3_2", "qwen2_5", "qwen3_2507"])
def test_real_vocabularies_have_the_tokens_of_their_format(real_tokenizers, name):
    tokenizer = real_tokenizers[name]
    chat, vocabulary = chat_of(tokenizer.chat_template), tokenizer.get_vocab()
    assert {*chat.tokens, *chat.text_ends, *chat.pads} <= vocabulary.keys()
    assert chat.turn_end not in PADS and chat.turn_end not in TEXT_ENDS


@pytest.mark.parametrize(("family", "kind"), types(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_layers_of_a_family_are_what_its_facts_say(family, kind):
    model, layers = decoder(kind)
    linear = {name.rsplit(".", 1)[-1] for name, _ in layers.named_modules() if name.endswith("_proj")}
    assert family_of(model.config.model_type) is family
    for layer in layers:
        built = FUSED.get(type(layer).__name__)
        assert built is None or built in family.layers
        if built is None:
            continue
        norms = {name for name, module in layer.named_children() if type(module).__name__.endswith("RMSNorm")}
        assert norms == {built.attention_norm, built.attention_out_norm, built.mlp_norm, built.mlp_out_norm} - {None}
        assert hasattr(layer.self_attn, "q_norm") == hasattr(layer.self_attn, "k_norm") == built.qk_norm
        assert {"o_proj", "down_proj", *built.qkv, *built.gate_up} == linear
        weight = getattr(layer, built.mlp_norm or built.mlp_out_norm).weight
        assert float(weight[0].detach()) == (0 if built.one_plus_norms else 1)


def test_every_described_layer_is_of_a_family_whose_model_has_it():
    built = {type(decoder(kind)[1][0]).__name__ for _, kind in types()}
    assert FUSED.keys() <= built


def test_every_family_that_slots_decode_describes_its_layers():
    assert [family.name for family in FAMILIES if family.slot_decoding and not family.layers] == []


def test_encoder_decoders_of_the_registry_are_known_to_transformers():
    kinds = {kind for family in FAMILIES if not family.chat for kind in family.model_types}
    assert kinds <= CONFIG_MAPPING_NAMES.keys()


def test_no_two_families_share_a_model_type_or_a_checkpoint():
    kinds = [kind for family in FAMILIES for kind in family.model_types]
    repositories = [checkpoint.repo_id for family in FAMILIES for checkpoint in family.checkpoints]
    assert len(set(kinds)) == len(kinds) and len(set(repositories)) == len(repositories)
    assert family_of("nobody") is None and checkpoint_of("nobody/nothing") is None


@pytest.mark.parametrize("repo_id", CHECKPOINTS)
def test_a_folder_named_after_a_checkpoint_is_recognized(repo_id):
    owner, name = repo_id.split("/")
    for folder in (name, f"{owner}--{name}", f"{owner}_{name}"):
        assert named_like(folder).repo_id == repo_id
    assert named_like(f"my-{name}") is None


@pytest.mark.parametrize("repo_id", SIZED)
def test_sizes_give_the_parameters_that_a_models_name_states(repo_id):
    billions = float((re.search(r"-([\d.]+)b\b", repo_id, re.I) or [0, 3.8])[1])  # Phi-4-mini's name has none
    assert SIZED[repo_id].sizes.parameters / 1e9 == pytest.approx(billions, rel=0.1)


def test_a_recipe_that_is_named_is_the_checkpoints():
    found = {path.stem: re.search(r'model_name_or_path="(.+?)"', path.read_text("utf-8"))[1] for path in
             (ROOT / "recipes").glob("sft_*.py")}  # fmt: skip
    assert {one.recipe: name for name, one in CHECKPOINTS.items() if one.recipe}.items() <= found.items()


def test_a_family_that_is_added_as_one_file_is_found(tmp_path):
    package = shutil.copytree(ROOT / "dialsum_trl", tmp_path / "dialsum_trl", ignore=shutil.ignore_patterns("toy"))
    (package / "models" / "families" / "solar.py").write_text(
        "from dialsum_trl.models.families.family import APACHE, Chat, Checkpoint, Family, Layer\n"
        "SOLAR = Family('SOLAR', ('solar',), Chat('<|solar|>', '<|end|>'), (Layer('SolarDecoderLayer'),),\n"
        "               checkpoints=(Checkpoint('upstage/SOLAR', APACHE),))\n"
    )
    code = (
        "from dialsum_trl.models.families.registry import *; "
        "print(family_of('solar').name, FUSED['SolarDecoderLayer'].mlp_norm, "
        "chat_of('{{ <|solar|> }}').turn_end, named_like('SOLAR').license.id)"
    )
    there = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=there)
    assert found.stdout == "SOLAR post_attention_layernorm <|end|> apache-2.0\n", found.stderr


def _strings(path: Path):
    """Every text of a file's code with its line, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and node.body
                  and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_nothing_outside_the_families_knows_a_model_by_name():
    package = ROOT / "dialsum_trl"
    files = [path for path in package.rglob("*.py") if package / "models" / "families" not in path.parents]
    found = [f"{path.relative_to(package)}:{line} {text[:60]!r}" for path in files for line, text in _strings(path)
             if NAMES.search(re.sub(r"sft_\w+", "", text))]  # fmt: skip
    assert found == []
