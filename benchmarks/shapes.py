"""Random weights in the verified models' real shapes, and rows with the lengths of real dialogues.

No model is downloaded: speed, memory and finite gradients depend on shapes and lengths, not on the values of the
weights.
"""

import shutil
from pathlib import Path

TINY = Path(__file__).resolve().parents[1] / "dialsum_trl" / "toy"

# From the models' published config.json files.
LLAMA = dict(rms_norm_eps=1e-5, rope_theta=500000.0, max_position_embeddings=8192)
QWEN = dict(rms_norm_eps=1e-6, rope_theta=1000000.0, max_position_embeddings=32768)
SHAPES = {
    "llama3b": ("llama", dict(LLAMA, vocab_size=128256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28,
                              num_attention_heads=24, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True)),
    "llama8b": ("llama", dict(LLAMA, vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                              num_attention_heads=32, num_key_value_heads=8, head_dim=128, tie_word_embeddings=False)),
    "qwen25_7b": ("qwen2", dict(QWEN, vocab_size=152064, hidden_size=3584, intermediate_size=18944,
                                num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
                                tie_word_embeddings=False)),
    "qwen3_4b": ("qwen3", dict(QWEN, vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
                               num_attention_heads=32, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True)),
    "qwen3_8b": ("qwen3", dict(QWEN, vocab_size=151936, hidden_size=4096, intermediate_size=12288, num_hidden_layers=36,
                               num_attention_heads=32, num_key_value_heads=8, head_dim=128, tie_word_embeddings=False)),
    "gemma3_4b": ("gemma3_text", dict(vocab_size=262208, hidden_size=2560, intermediate_size=10240,
                                      num_hidden_layers=34, num_attention_heads=8, num_key_value_heads=4, head_dim=256,
                                      sliding_window=1024, query_pre_attn_scalar=256, max_position_embeddings=131072)),
    "exaone4_1b": ("exaone4", dict(vocab_size=102400, hidden_size=2048, intermediate_size=4096, num_hidden_layers=30,
                                   num_attention_heads=32, num_key_value_heads=8, head_dim=64, sliding_window=None,
                                   layer_types=["full_attention"] * 30, rms_norm_eps=1e-5, rope_theta=1000000.0,
                                   max_position_embeddings=65536, tie_word_embeddings=True)),
    "exaone4_32b": ("exaone4", dict(vocab_size=102400, hidden_size=5120, intermediate_size=27392, num_hidden_layers=64,
                                    num_attention_heads=40, num_key_value_heads=8, head_dim=128, sliding_window=4096,
                                    sliding_window_pattern=4, rms_norm_eps=1e-5, rope_theta=1000000.0,
                                    max_position_embeddings=131072, tie_word_embeddings=False)),
    "mistral_7b": ("mistral", dict(vocab_size=32768, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                                   num_attention_heads=32, num_key_value_heads=8, head_dim=128, sliding_window=None,
                                   rms_norm_eps=1e-5, rope_theta=1000000.0, tie_word_embeddings=False)),
    "phi4_mini": ("phi3", dict(vocab_size=200064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32,
                               num_attention_heads=24, num_key_value_heads=8, max_position_embeddings=131072,
                               sliding_window=262144, rope_theta=10000.0, partial_rotary_factor=0.75,
                               pad_token_id=0, eos_token_id=1, tie_word_embeddings=True)),
    # for --smoke: every code path, none of the size
    "smoke": ("llama", dict(LLAMA, vocab_size=2560, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                            num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)),
    "smoke_qwen2": ("qwen2", dict(QWEN, vocab_size=2560, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                  num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)),
    "smoke_qwen3": ("qwen3", dict(QWEN, vocab_size=2560, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                  num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)),
}  # fmt: skip


SMALL = dict(
    vocab_size=2560, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16,
)  # fmt: skip


def sizes_of(shape: str, **changed) -> dict:
    """A shape's sizes with some of them changed; the kinds of its layers are cut to their number."""
    sizes = SHAPES[shape][1] | changed
    kinds = sizes.get("layer_types")
    return sizes | {"layer_types": kinds[: sizes["num_hidden_layers"]]} if kinds else sizes


def build(shape: str, folder: str | Path, dtype: str = "bfloat16", seed: int = 0, **changed) -> Path:
    """Saves a randomly initialised model of that shape with the family's toy tokenizer; returns its folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = Path(folder)
    family, sizes = SHAPES[shape][0], sizes_of(shape, **changed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **sizes)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size="4GB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TINY / ("llama" if family == "llama" else "qwen3") / name, folder / name)
    del model
    if device == "cuda":
        torch.cuda.empty_cache()
    return folder


def lengths(rows: int, seed: int = 0):
    """Prompt and completion lengths in tokens: lognormal prompts (mean 274) and completions of 45 on average.

    The prompt fit was made on 499 real dev rows with the Llama 3 vocabulary; completions: gamma with the measured mean
    45 and 95th percentile 77.
    """
    import numpy as np

    draw = np.random.default_rng(seed)
    prompts = np.clip(draw.lognormal(5.527, 0.459, rows), 60, 860).astype(int)
    completions = np.clip(draw.gamma(6.5, 45 / 6.5, rows), 12, 154).astype(int)
    return prompts, completions


def encoded_rows(rows: int, vocabulary: int, seed: int = 0):
    """A Dataset of random ids with those lengths, prompt masked: `input_ids`, `labels`."""
    import numpy as np
    from datasets import Dataset

    draw = np.random.default_rng(seed + 1)
    input_ids, labels = [], []
    for prompt, completion in zip(*lengths(rows, seed), strict=True):
        ids = draw.integers(10, vocabulary - 300, prompt + completion).tolist()
        input_ids.append(ids)
        labels.append([-100] * int(prompt) + ids[prompt:])
    return Dataset.from_dict({"input_ids": input_ids, "labels": labels})


if __name__ == "__main__":
    import sys

    build(sys.argv[1], sys.argv[2])
