"""Toy models with LoRA adapters that already do something, and a pack for them."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from trl import SFTConfig

from dialsum_trl.kernels.attention import register
from dialsum_trl.training.packing.packs import PackCollator

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj"]
# layers -> the model type and what its toy has besides the sizes of all; windows are shorter than the documents
WINDOW = dict(sliding_window=8)
MIXED = dict(WINDOW, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
ROPE = dict(rope_theta=1e4, original_max_position_embeddings=64)
LONGROPE = dict(
    ROPE, rope_type="longrope", partial_rotary_factor=0.5, short_factor=[1.0, 2, 3, 4], long_factor=[9.0] * 4
)
VARIANTS = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen2 with windows": ("qwen2", dict(MIXED, use_sliding_window=True)),
    "qwen3": ("qwen3", dict(head_dim=32)),
    "gemma": ("gemma", dict(head_dim=32)),
    "gemma3": ("gemma3_text", dict(MIXED, head_dim=32, query_pre_attn_scalar=24)),
    "exaone4": ("exaone4", dict(sliding_window=None, layer_types=["full_attention"] * 3)),
    "exaone4 with windows": ("exaone4", MIXED),
    "mistral": ("mistral", WINDOW),
    "ministral": ("ministral", dict(MIXED, head_dim=16)),
    "ministral3": ("ministral3", dict(rope_parameters=dict(ROPE, rope_type="default", llama_4_scaling_beta=0.1))),
    "granite": ("granite", dict(residual_multiplier=0.22, attention_multiplier=0.1)),
    "hyperclovax": ("hyperclovax", dict(residual_multiplier=0.3, attention_multiplier=0.1)),
    "hyperclovax without norms after": ("hyperclovax", dict(residual_multiplier=0.3, use_post_norm=False)),
    "phi3": ("phi3", dict(WINDOW, rope_parameters=dict(ROPE, rope_type="default", partial_rotary_factor=0.75))),
    "phi4 mini": ("phi3", dict(rope_parameters=LONGROPE, original_max_position_embeddings=64)),
}
FAMILIES = tuple(VARIANTS)


def lora_model(family: str = "llama", dropout: float = 0.0, rank: int = 8, base=None, vocabulary: int = 96, **lora):
    """A three-layer model of `VARIANTS` with random adapters, norms and biases, on packed attention."""
    torch.manual_seed(1)
    if base is None:
        model_type, more = VARIANTS[family]
        sizes = dict(
            vocab_size=vocabulary, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, pad_token_id=0,
        )  # fmt: skip
        base = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **(sizes | more)))
    settings = dict(r=rank, lora_alpha=16, lora_dropout=dropout, target_modules=TARGETS) | lora
    model = get_peft_model(base, LoraConfig(**settings))
    draw = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=draw) * 0.05
        elif "norm" in name:
            start = 0 if family.startswith("gemma") else 1  # Gemma's norms multiply by 1 + weight
            parameter.data = (start + torch.randn(parameter.shape, generator=draw) * 0.1).to(parameter.dtype)
        elif name.endswith("base_layer.bias"):
            parameter.data = (torch.randn(parameter.shape, generator=draw) * 0.1).to(parameter.dtype)
    model.set_attn_implementation(register())
    return model.train()


def documents(sizes=(17, 5, 30), vocabulary: int = 96) -> list[dict]:
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, vocabulary, (size,), generator=draw).tolist() for size in sizes]
    return [{"input_ids": row, "labels": [-100, -100, *row[2:]]} for row in rows]


def pack(rows: list[dict], multiple: int = 16) -> dict:
    return PackCollator(0, multiple)(rows)


def token_losses(model, batch: dict) -> torch.Tensor:
    """Loss of every position of a pack or of one row, 0 where nothing is supervised."""
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    logits = model(**inputs, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits[0, :-1], batch["labels"][0, 1:], ignore_index=-100, reduction="none"
    )


def loss_and_gradients(model, batch: dict):
    model.zero_grad()
    loss = token_losses(model, batch).sum()
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def difference(gradients: dict, others: dict) -> float:
    """Largest difference of two sets of gradients, relative to the largest entry of each matrix."""
    return max(float((gradients[k] - others[k]).abs().max() / others[k].abs().max()) for k in others)


def arguments(folder, **more):
    """Arguments of a short float32 training on the CPU."""
    settings = dict(
        output_dir=str(folder), per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=2,
        learning_rate=1e-3, logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
        bf16=False, dataset_kwargs={"skip_prepare_dataset": True}, activation_checkpointing=False, warmup_steps=0,
        logging_nan_inf_filter=False,
    )  # fmt: skip
    return SFTConfig(**(settings | more))
