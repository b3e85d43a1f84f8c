"""Phi-3, 3.5 and 4-mini of Microsoft: one projection for queries, keys and values, one for gate and up."""

from dialsum_trl.models.families.family import Chat, Checkpoint, Family, Layer, License, Sizes

MIT = License("mit")

# from config.json
PHI_4_MINI = Sizes(
    layers=32, hidden=3072, query_heads=24, key_heads=8, head_dim=128, intermediate=8192, vocabulary=200064, tied=True
)

PHI3 = Family(
    name="Phi",
    model_types=("phi3",),
    chat=Chat(
        opens="<|end|>",  # some of its templates put the other tokens together
        turn_end="<|end|>",
        tokens=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        text_ends=("<|endoftext|>",),
    ),
    layers=(Layer("Phi3DecoderLayer", qkv=("qkv_proj",), gate_up=("gate_up_proj",)),),
    checkpoints=(
        Checkpoint("microsoft/Phi-4-mini-instruct", MIT, PHI_4_MINI),
        Checkpoint("microsoft/Phi-3.5-mini-instruct", MIT),
    ),
)
