"""Toys for the tests of Phase 3: a random Llama of two layers with the embedded tokenizer, an "SFT" adapter on it."""

import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dialsum_trl.rl.adapter_roles import SCORE

TINY = Path(__file__).resolve().parents[1] / "dialsum_trl" / "toy"
TRAIN, DEV = TINY / "data" / "train.csv", TINY / "data" / "dev.csv"


def make_base(folder: Path) -> Path:
    """A folder with random weights, the tokenizer, and nothing pretrained."""
    tokenizer = AutoTokenizer.from_pretrained(TINY / "llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


PARTIAL = ("q_proj", "v_proj", "down_proj")  # these keep the layers from being fused
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_adapter(base: Path, folder: Path, targets: tuple[str, ...] = PARTIAL) -> Path:
    """A LoRA adapter whose weights are random and not zero, as if it had been trained."""
    torch.manual_seed(1)
    config = LoraConfig(
        r=4,
        lora_dropout=0.1,
        target_modules=list(targets),
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return folder


def make_reward(sft: Path, folder: Path) -> Path:
    """A reward adapter: the layers of an SFT adapter, a random score head, the scale of its scores."""
    shutil.copytree(sft, folder)
    state = load_file(sft / "adapter_model.safetensors")
    head = torch.randn(1, 32, generator=torch.Generator().manual_seed(2))
    save_file({**state, SCORE: head}, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "reward.json").write_text('{"score_mean": 0.0, "score_std": 1.0}')
    return folder


def polite_pairs(rows: int = 96) -> list[dict]:
    """The better summary ends politely, at equal length."""
    return [
        {
            "prompt": f"#Person1#: 방이 {i}개 있나요?\n#Person2#: 네.",
            "chosen": f"방이 {i}개 있다고 합니다",
            "rejected": f"방이 {i}개 있다고 그랬어",
        }
        for i in range(rows)
    ]


def flags(settings: dict) -> list[str]:
    """Settings as command-line tokens."""
    tokens = []
    for name, value in settings.items():
        tokens += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value).replace("True", "true")])]
    return tokens
