"""One pack through plain and fused layers, without dropout, each against plain layers in float32."""

import gc
import math

HALF = "bfloat16"  # or float16, with its gradients scaled
SCALE = 65536.0


def load(path, smoke: bool, dropout: float = 0.05, attention: str = "sdpa", **lora):
    """The recipes' model: nf4 base through transformers, LoRA through PEFT.

    Args:
        lora: flags of `ModelArguments` beyond dropout.
    """
    from peft import get_peft_model
    from transformers import set_seed

    from dialsum_trl.core.settings.flags import ModelArguments
    from dialsum_trl.models.base import load_base
    from dialsum_trl.models.lora import lora_config

    set_seed(42)  # every variant starts from the same adapters
    quantization = "none" if smoke else lora.get("quantization", "4bit")
    base = load_base(
        str(path), dtype="float32" if smoke else HALF, quantization=quantization, attn_implementation=attention,
        device="cpu" if smoke else 0,
    )  # fmt: skip
    base.config.use_cache = False
    return get_peft_model(base, lora_config(ModelArguments(lora_dropout=dropout, **lora), base=base))


def equality(path, rows, smoke: bool, **lora) -> dict:
    """Loss and gradients of one pack without dropout: plain layers and ours, each against plain layers in float32.

    Args:
        lora: as `load`.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from dialsum_trl.kernels.attention import register
    from dialsum_trl.kernels.fused.attach import attach
    from dialsum_trl.training.packing.packs import PackCollator

    name, device = register(), "cpu" if smoke else "cuda"
    pack = PackCollator(0)([rows[i] for i in range(12)])
    batch = {k: v.to(device) if torch.is_tensor(v) else v for k, v in pack.items()}

    def gradients(model, half: bool):
        model.zero_grad()
        scale = SCALE if half and HALF == "float16" else 1.0
        with torch.autocast(device, getattr(torch, HALF), enabled=half):
            log_probs = model(**batch, use_cache=False, fused_lm_head=True).log_probs
        loss = -log_probs.sum() / (batch["labels"] != -100).sum()
        (loss * scale).backward()
        return loss.item(), {n: p.grad.float().cpu() / scale for n, p in model.named_parameters() if p.requires_grad}

    model = load(path, smoke, dropout=0.0, attention=name, **lora).train()
    add_fused_lm_head(model.get_base_model())
    draw = torch.Generator().manual_seed(5)
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
            if "lora_B" in key:  # zeros would hide the gradients of A
                parameter.data = (torch.randn(parameter.shape, generator=draw) * 0.02).to(device)
    found = {"plain": gradients(model, not smoke)}
    state = {}
    for key, module in model.named_modules():
        if type(module).__name__ == "Linear4bit":
            state[f"{key}.weight"] = dequantize_4bit(module.weight.data, module.weight.quant_state).cpu()
    state = {k: v.detach().cpu() for k, v in model.named_parameters() if k not in state} | state
    attach(model)
    found["ours"] = gradients(model, not smoke)
    del model
    gc.collect()

    from dialsum_trl.core.settings.flags import ModelArguments
    from dialsum_trl.models.lora import lora_config

    base = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation=name, device_map={"": device}
    )
    add_fused_lm_head(base)
    from peft import get_peft_model

    flags = lora | dict(lora_dropout=0.0, init_lora_weights="default")  # the weights are replaced below
    reference = get_peft_model(base, lora_config(ModelArguments(**flags), base=base)).to(device).train()
    reference.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    found["float32"] = gradients(reference, False)
    del reference, base
    gc.collect()
    return {
        **{f"loss_{name}": loss for name, (loss, _) in found.items()},
        **{f"grad_norm_{name}": norm(grads) for name, (_, grads) in found.items()},
        "plain_against_float32": agreement(found["plain"][1], found["float32"][1]),
        "ours_against_float32": agreement(found["ours"][1], found["float32"][1]),
        "ours_against_plain": agreement(found["ours"][1], found["plain"][1]),
    }


def norm(grads: dict) -> float:
    """Global norm of named gradients."""
    return round(math.sqrt(sum(float(g.norm()) ** 2 for g in grads.values())), 5)


def agreement(grads: dict, others: dict) -> dict:
    """Cosines of the gradients of every adapter matrix: smallest and mean."""
    from torch.nn.functional import cosine_similarity

    cosines = [float(cosine_similarity(grads[k].flatten(), others[k].flatten(), 0)) for k in others]
    return {"smallest_cosine": round(min(cosines), 6), "mean_cosine": round(sum(cosines) / len(cosines), 6)}
