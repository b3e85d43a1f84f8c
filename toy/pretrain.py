"""Pretrain a toy model from nothing, on synthetic dialogues, in other tasks than the recipes teach.

    python -m toy.pretrain llama|qwen3|bart [--device cuda] [--folder ...]

They learn to read a dialogue, to find facts in it and to copy them; the summary in the task's style is left to the
recipes. The last part of a chat model's run trains with every linear layer rounded to 4-bit NormalFloat (QLoRA,
arXiv:2305.14314, appendix E), so the saved weights lie on that grid and 4-bit loading loses next to nothing.
"""

import argparse
import os
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from dialsum_trl.prompts.chat_tokens import stop_token_ids
from toy import FOLDER
from toy.batches import Chats, TextPairs, batches

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
CHAT_MODELS = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
# The 16 values of 4-bit NormalFloat, to the digits of bitsandbytes.
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
BLOCK = 64  # values that share one scale in nf4
ROUNDED_SHARE = 0.3  # of the steps, at the end


def new_model(name: str, tokenizer):
    """A freshly initialized model that fits `tokenizer`, with every stop token in its generation config."""
    ids = dict(bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id)
    if name == "bart":
        eos = tokenizer.eos_token_id
        ids |= dict(eos_token_id=eos, decoder_start_token_id=eos, forced_eos_token_id=eos)
        model = BartForConditionalGeneration(BartConfig(vocab_size=len(tokenizer), **BART_SHAPE, **ids))
    else:
        ids |= dict(eos_token_id=stop_token_ids(tokenizer))
        config, build = CHAT_MODELS[name]
        model = build(config(vocab_size=len(tokenizer), **CHAT_SHAPE, **ids))
    model.generation_config = GenerationConfig(**ids)
    return model


class RoundedToNF4(torch.nn.Module):
    """The weight's nearest values in nf4; gradients pass straight through."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor(NF4, device=weight.device)
        blocks = weight.detach().reshape(-1, BLOCK)
        scale = blocks.abs().amax(1, keepdim=True)
        rounded = levels[torch.bucketize(blocks / scale, (levels[1:] + levels[:-1]) / 2)] * scale
        return weight + (rounded.reshape(weight.shape) - weight.detach())


def linear_layers(model) -> list[torch.nn.Linear]:
    """Every linear layer but the head."""
    return [module for module in model.model.layers.modules() if isinstance(module, torch.nn.Linear)]


def pretrain(
    name: str, folder: Path, steps: int, rows: int, lr: float, seed: int, device: str, workers: int = 0
) -> None:
    """Train the model of `folder/name`, whose tokenizer is there, for `steps` steps of `rows` examples.

    The weights are saved in bfloat16. They depend on the seed alone, on one kind of machine.
    """
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    model = new_model(name, tokenizer).to(device).train()
    stream = batches((TextPairs if name == "bart" else Chats)(tokenizer, seed, rows), workers)
    matrices = [p for n, p in model.named_parameters() if ".layers." in n and p.ndim == 2]
    others = [p for n, p in model.named_parameters() if not (".layers." in n and p.ndim == 2)]
    optimizers = [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 50, 0.02 + (steps - step) / (0.5 * steps))

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]
    started = time.time()
    for step, (inputs, labels, weights) in zip(range(steps), stream, strict=False):
        if name != "bart" and step == int(steps * (1 - ROUNDED_SHARE)):
            for layer in linear_layers(model):
                parametrize.register_parametrization(layer, "weight", RoundedToNF4())
        inputs = {key: value.to(device) for key, value in inputs.items()}
        labels, weights = labels.to(device).flatten(), weights.to(device).flatten()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = model(**inputs).logits.float()
        losses = cross_entropy(logits.flatten(0, 1), labels, reduction="none")
        ((losses * weights).sum() / weights.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if step % 50 == 0 or step == steps - 1:
            answers = losses.detach()[weights == 1].mean()
            print(f"{name} step {step} answers {answers:.3f} after {time.time() - started:.1f} s", flush=True)
    if name != "bart":
        for layer in linear_layers(model):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    model.to("cpu", torch.bfloat16)
    model.save_pretrained(folder / name)
    model.config.dtype = torch.float32  # stored small, loaded exact: CPUs are slow in bfloat16
    model.config.save_pretrained(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("llama", "qwen3", "bart"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rows", type=int, default=64, help="examples per step, of some 300 tokens (bart: 150)")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="on cuda, forwards run in bfloat16")
    parser.add_argument("--workers", type=int, default=0, help="processes that make the batches; they change nothing")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products need it
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    pretrain(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
