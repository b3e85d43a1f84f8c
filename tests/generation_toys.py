"""Random decoders, prompts, an adapter that does something, and the tiny summarizer."""

import random

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from dialsum_trl.generation.summarizer import Summarizer, load_summarizer
from tests.conftest import TINY

STOP, PAD, VOCABULARY = [5, 9], 0, 53
SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    initializer_range=0.6,  # far apart logits, so that rounding turns no choice
)
DIALOGUES = [
    "#Person1#: 내일 회의 몇 시예요?\n#Person2#: 세 시예요. 늦지 마세요.",
    "#Person1#: 점심 먹었어요?\n#Person2#: 아직이요.\n#Person1#: 그럼 같이 먹어요.",
    "#Person1#: 버스가 늦네요.\n#Person2#: 길이 막히나 봐요.",
]


def toy(family: str, **changes):
    """A random causal model of `family` with a head size of 8."""
    head = {} if family == "qwen2" else {"head_dim": 8}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SIZES, **head, **changes})).eval()


def random_prompts(count: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    lengths = [1, 2, *(draw.randint(3, 40) for _ in range(count - 2))]
    return [[draw.randrange(10, VOCABULARY) for _ in range(length)] for length in lengths]


def lora(model, std: float = 0.3):
    draw = torch.Generator().manual_seed(1)  # on the CPU: the same adapter on every device
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=layers, task_type="CAUSAL_LM", lora_dropout=0.5))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(std * torch.randn(parameter.shape, generator=draw))
    return adapted


def tiny_summarizer(**kwargs) -> Summarizer:
    return load_summarizer(
        str(TINY / "llama"), **{"dtype": "float32", "quantization": "none", "device": "cpu", **kwargs}
    )
