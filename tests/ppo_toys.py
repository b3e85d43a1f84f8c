"""A PPO trainer on a toy, a rollout of it, and the gradient of one of its optimizer steps."""

import hashlib
import os

import torch
from datasets import Dataset

from dialsum_trl.metrics.qualities import hangul_share, no_repetition
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import prompt_messages
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.rl.ppo_config import PPOConfig
from dialsum_trl.rl.ppo_trainer import PPOTrainer


def make_trainer(folders, output_dir, **changes):
    tokenizer = load_tokenizer(str(folders["base"]))
    model = load_adapter(
        load_base(str(folders["base"]), dtype="float32", quantization="none"), folders["sft"], trainable=True
    )
    args = PPOConfig(
        **{
            "output_dir": str(output_dir),
            "per_device_train_batch_size": 4,
            "rollout_batch_size": 8,
            "max_completion_length": 6,
            "max_truncated": 1.1,
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "critic_learning_rate": 1e-2,
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
            **changes,
        }
    )
    dialogues = [f"#Person1#: {'방이 있나요? ' * (1 + i % 3)}\n#Person2#: 네, {i}개 있어요." for i in range(16)]
    rows = Dataset.from_dict({"prompt": [prompt_messages(d) for d in dialogues], "dialogue": dialogues})
    return PPOTrainer(model, [hangul_share, no_repetition], args, rows, tokenizer, stop_ids=stop_token_ids(tokenizer))


def rollout(trainer):
    trainer.model.train()
    rows = [trainer.train_dataset[i] for i in range(8)]
    return trainer.rollout(rows, None)


def gradients(trainer, batch, parts=1):
    """The gradient of each trained tensor for one optimizer step over `batch`."""
    trainer.model.zero_grad()
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = parts
    trainer.args.steps_per_generation = parts
    size = 8 // parts
    for start in range(0, 8, size):
        part = {k: v if v.dim() == 0 else v[start : start + size] for k, v in batch.items()}
        trainer.accelerator.backward(trainer.compute_loss(trainer.model, part))
    return {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def fingerprints(model) -> dict[str, str]:
    """A hash of the weights of each adapter, and of everything else as `"base"` (heads: their module's name)."""
    hashes = {}
    for name, tensor in sorted(model.state_dict().items()):
        adapter = next((adapter for adapter in model.peft_config if f".{adapter}." in f"{name}."), None)
        part = adapter or ("value_head" if name.startswith("value_head") else "base")
        raw = tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy()
        hashes.setdefault(part, hashlib.sha256()).update(raw)
    return {part: digest.hexdigest() for part, digest in hashes.items()}
