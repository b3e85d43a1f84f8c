"""Pretrain the toy models from nothing, on chats about synthetic dialogues in other tasks than the recipes teach.

    python -m dialsum_trl.tiny.pretrain llama [--steps 3000] [--folder ...]

They learn to read a dialogue, to find facts in it and to copy them; the summary in the task's style is left to the
recipes. The last part of the run trains with every linear layer rounded to 4-bit NormalFloat (QLoRA, arXiv:2305.14314,
appendix E), so the saved weights lie on that grid and 4-bit loading loses next to nothing.
"""

import argparse
import time
from pathlib import Path
from random import Random

from dialsum_trl.prompts import PINNED_DATE
from dialsum_trl.tiny.make_data import SCENES, sample_plays
from dialsum_trl.tiny.tasks import conversation

SHAPE = dict(
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=3,
    head_dim=32,
    intermediate_size=448,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
    attention_dropout=0.0,
)
BLOCK = 64  # values that share one scale in nf4
PROMPT_WEIGHT = 0.3  # of the loss on a token that nobody asks for, beside 1 for the answers
ROUNDED_SHARE = 0.3  # of the steps, at the end


def new_model(name: str, tokenizer):
    """A freshly initialized `llama` or `qwen3` model that fits `tokenizer`, with both stop tokens configured."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    from dialsum_trl.models import stop_token_ids

    config_class, model_class = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}[
        name
    ]
    stops = stop_token_ids(tokenizer)
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=stops, pad_token_id=tokenizer.pad_token_id)
    model = model_class(config_class(vocab_size=len(tokenizer), **SHAPE, **ids))
    model.generation_config = GenerationConfig(**ids)
    return model


def encode_chat(tokenizer, messages: list[dict]) -> tuple[list[int], list[float]]:
    """Token ids of a chat and the weight of each token in the loss."""
    ids: list[int] = []
    weights: list[float] = []
    done = ""
    for end in range(2, len(messages), 2):  # system and user, then assistant and user in turn
        for upto, generation, weight in ((end, True, PROMPT_WEIGHT), (end + 1, False, 1.0)):
            text = tokenizer.apply_chat_template(
                messages[:upto], tokenize=False, add_generation_prompt=generation, date_string=PINNED_DATE
            )
            part = tokenizer(text[len(done) :], add_special_tokens=False).input_ids
            ids += part
            weights += [weight] * len(part)
            done = text
    return ids, weights


def batches(tokenizer, rng: Random, tokens: int):
    """Yield (input_ids, attention_mask, weights) of about `tokens` tokens, chats of like length together."""
    import torch

    forbidden = {p.key for split, plays in sample_plays().items() if split != "train" for p in plays}
    while True:
        pool = sorted(
            (encode_chat(tokenizer, conversation(rng, SCENES, forbidden)) for _ in range(256)), key=lambda c: len(c[0])
        )
        groups: list[list] = [[]]
        for chat in pool:
            if (len(groups[-1]) + 1) * len(chat[0]) > tokens:
                groups.append([])
            groups[-1].append(chat)
        rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            pad = [width - len(ids) for ids, _ in group]
            yield (
                torch.tensor([ids + [tokenizer.pad_token_id] * n for (ids, _), n in zip(group, pad, strict=True)]),
                torch.tensor([[1] * (width - n) + [0] * n for n in pad]),
                torch.tensor([weights + [0.0] * n for (_, weights), n in zip(group, pad, strict=True)]),
            )


def round_to_nf4(model) -> None:
    """Let every linear layer but the head compute with weights rounded to nf4; gradients pass straight through."""
    import torch
    from bitsandbytes.functional import get_4bit_type
    from torch.nn.utils import parametrize

    levels = get_4bit_type("nf4", device="cpu")
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
    name: str, folder: Path, steps: int, tokens: int, lr: float, muon_lr: float, bf16: bool, seed: int
) -> None:
    """Train `folder/name` for `steps` steps of about `tokens` tokens and save it in bfloat16."""
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    model = new_model(name, tokenizer)
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 50, 0.02 + (steps - step) / (0.5 * steps))

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]
    started, seen, running = time.time(), 0, 0.0
    for step, (ids, mask, weights) in zip(range(steps), batches(tokenizer, Random(seed), tokens), strict=False):
        if step == int(steps * (1 - ROUNDED_SHARE)):
            round_to_nf4(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        weight = weights[:, 1:].flatten()
        loss = (losses * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        seen += int(mask.sum())
        answers = weight == 1
        running = 0.95 * running + 0.05 * losses[answers].mean().item() if step else losses[answers].mean().item()
        if step % 50 == 0 or step == steps - 1:
            print(
                f"{step} loss {loss.item():.3f} answers {running:.3f} {seen / (time.time() - started):.0f} tok/s",
                flush=True,
            )
    bake(model)
    model.to(torch.bfloat16)
    model.save_pretrained(folder / name)
    model.config.dtype = torch.float32  # stored small, loaded exact: CPUs are slow in bfloat16
    model.config.save_pretrained(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("llama", "qwen3"))
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--muon_lr", type=float, default=4e-3)
    parser.add_argument("--bf16", action="store_true", help="twice as fast where the CPU has AVX512_BF16")
    parser.add_argument("--seed", type=int, default=0)
    pretrain(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
