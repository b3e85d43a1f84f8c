"""Pretrain a toy model from nothing, on synthetic dialogues, in other tasks than the recipes teach.

    python -m toy.pretrain llama|qwen3|bart [--steps 1500] [--folder ...]

They learn to read a dialogue, to find facts in it and to copy them; the summary in the task's style is left to the
recipes. The last part of a chat model's run trains with every linear layer rounded to 4-bit NormalFloat (QLoRA,
arXiv:2305.14314, appendix E), so the saved weights lie on that grid and 4-bit loading loses next to nothing.
"""

import argparse
import time
from pathlib import Path
from random import Random

from toy.batches import chat_batches, text_pair_batches

CHAT_SHAPE = dict(
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=3,
    head_dim=32,
    intermediate_size=448,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
)
BART_SHAPE = dict(
    d_model=128,
    encoder_layers=3,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=384,
    decoder_ffn_dim=384,
    max_position_embeddings=1024,
    dropout=0.0,
    tie_word_embeddings=True,
)
BLOCK = 64  # values that share one scale in nf4
ROUNDED_SHARE = 0.3  # of the steps, at the end


def new_model(name: str, tokenizer):
    """A freshly initialized model that fits `tokenizer`, with every stop token in its generation config."""
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    from dialsum_trl.prompts.chat_tokens import stop_token_ids

    ids = dict(bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id)
    if name == "bart":
        eos = tokenizer.eos_token_id
        ids |= dict(eos_token_id=eos, decoder_start_token_id=eos, forced_eos_token_id=eos)
        model = BartForConditionalGeneration(BartConfig(vocab_size=len(tokenizer), **BART_SHAPE, **ids))
    else:
        ids |= dict(eos_token_id=stop_token_ids(tokenizer))
        config, build = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}[name]
        model = build(config(vocab_size=len(tokenizer), **CHAT_SHAPE, **ids))
    model.generation_config = GenerationConfig(**ids)
    return model


def round_to_nf4(model) -> None:
    """Let every linear layer but the head compute with weights rounded to nf4; gradients pass straight through."""
    import torch
    from bitsandbytes.functional import get_4bit_type
    from torch.nn.utils import parametrize

    levels = get_4bit_type("nf4", device=model.device)
    middles = (levels[1:] + levels[:-1]) / 2

    class Rounded(torch.nn.Module):
        def forward(self, weight):
            blocks = weight.detach().reshape(-1, BLOCK)
            scale = blocks.abs().amax(1, keepdim=True)
            rounded = levels[torch.bucketize(blocks / scale, middles)] * scale
            return weight + (rounded.reshape(weight.shape) - weight.detach())

    for module in model.model.layers.modules():
        if isinstance(module, torch.nn.Linear):
            parametrize.register_parametrization(module, "weight", Rounded())


def bake(model) -> None:
    """Replace rounded weights by their values, so that the model is a plain one again."""
    from torch.nn.utils import parametrize

    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def pretrain(
    name: str, folder: Path, steps: int, tokens: int, lr: float, bf16: bool, seed: int, device: str, more: bool
) -> None:
    """Train `folder/name` for `steps` steps of about `tokens` tokens and save it in bfloat16.

    `more` goes on from the weights that lie there instead of starting anew.
    """
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    model = new_model(name, tokenizer)
    if more:
        model = type(model).from_pretrained(folder / name, dtype=torch.float32)
    model.to(device).train()
    batches = (text_pair_batches if name == "bart" else chat_batches)(tokenizer, Random(seed), tokens)
    matrices = [p for n, p in model.named_parameters() if ".layers." in n and p.ndim == 2]
    others = [p for n, p in model.named_parameters() if not (".layers." in n and p.ndim == 2)]
    optimizers = [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 50, 0.02 + (steps - step) / (0.5 * steps))

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]
    started, seen, average = time.time(), 0, None
    for step, (inputs, labels, weights) in zip(range(steps), batches, strict=False):
        if name != "bart" and step == int(steps * (1 - ROUNDED_SHARE)):
            round_to_nf4(model)
        inputs = {key: value.to(device) for key, value in inputs.items()}
        labels, weights = labels.to(device), weights.to(device)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = model(**inputs).logits.float()
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        weights = weights.flatten()
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        seen += int(inputs["attention_mask"].sum())
        answers = losses.detach()[weights == 1].mean().item()
        average = answers if average is None else 0.95 * average + 0.05 * answers
        if step % 50 == 0 or step == steps - 1:
            rate = seen / (time.time() - started)
            print(f"{step} loss {loss.item():.3f} answers {average:.3f} {rate:.0f} tok/s", flush=True)
    bake(model)
    model.to("cpu", torch.bfloat16)
    model.save_pretrained(folder / name)
    model.config.dtype = torch.float32  # stored small, loaded exact: CPUs are slow in bfloat16
    model.config.save_pretrained(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("llama", "qwen3", "bart"))
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--bf16", action="store_true", help="twice as fast where the CPU has AVX512_BF16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--more", action="store_true", help="go on from the weights in the folder")
    pretrain(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
