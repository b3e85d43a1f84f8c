"""Offline for every test; the real vocabularies of Llama 3 and Qwen from PyPI packages."""

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("ACCELERATE_USE_CPU", "true")

from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "dialsum_trl" / "tiny"

LLAMA_SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
]
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


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
    # located, not imported: only the vocabulary files are wanted, not what the packages depend on
    llama_file = distribution("llama-models").locate_file("llama_models/llama3/tokenizer.model")
    qwen_file = distribution("dashscope").locate_file("dashscope/resources/qwen.tiktoken")
    llama = (real_vocabulary(str(llama_file), LLAMA_SPECIAL), "<|begin_of_text|>", "<|eot_id|>", None)
    qwen = (real_vocabulary(str(qwen_file), QWEN_SPECIAL), None, "<|im_end|>", "<|endoftext|>")
    return {
        "llama3": real_tokenizer(llama[0], "llama3", *llama[1:]),
        "llama3_2": real_tokenizer(llama[0], "llama3_2", *llama[1:]),
        "qwen2_5": real_tokenizer(qwen[0], "qwen2_5", *qwen[1:]),
        "qwen3_2507": real_tokenizer(qwen[0], "qwen3_instruct_2507", *qwen[1:]),
    }
