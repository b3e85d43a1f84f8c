"""Qwen2 and 2.5 (biases on q/k/v) and Qwen3 (normalized heads, no biases), both dense; turns in ChatML."""

from dialsum_trl.models.families.family import APACHE, Chat, Checkpoint, Family, Layer, Sizes

CHATML = Chat(
    opens="<|im_start|>",
    turn_end="<|im_end|>",
    tokens=("<|im_start|>", "<|im_end|>"),
    text_ends=("<|endoftext|>",),
    pads=("<|endoftext|>",),
)

# from config.json
QWEN2_5_7B = Sizes(
    layers=28, hidden=3584, query_heads=28, key_heads=4, head_dim=128, intermediate=18944, vocabulary=152064, tied=False
)
QWEN3_4B = Sizes(
    layers=36, hidden=2560, query_heads=32, key_heads=8, head_dim=128, intermediate=9728, vocabulary=151936, tied=True
)

QWEN3_8B = Sizes(
    layers=36, hidden=4096, query_heads=32, key_heads=8, head_dim=128, intermediate=12288, vocabulary=151936, tied=False
)

QWEN2 = Family(
    name="Qwen2",
    model_types=("qwen2",),
    chat=CHATML,
    layers=(Layer("Qwen2DecoderLayer"),),
    slot_decoding=True,
    checkpoints=(
        Checkpoint("Qwen/Qwen2.5-7B-Instruct", APACHE, QWEN2_5_7B, "sft_qwen25_7b"),
        Checkpoint("skt/A.X-4.0-Light", APACHE),
    ),
)

QWEN3 = Family(
    name="Qwen3",
    model_types=("qwen3",),
    chat=CHATML,
    layers=(Layer("Qwen3DecoderLayer", qk_norm=True),),
    slot_decoding=True,
    checkpoints=(
        Checkpoint("Qwen/Qwen3-4B-Instruct-2507", APACHE, QWEN3_4B, "sft_qwen3_4b"),
        Checkpoint("Qwen/Qwen3-8B", APACHE, QWEN3_8B),
    ),
)

QWEN3_5 = Family(name="Qwen3.5", model_types=("qwen3_5_text",), chat=CHATML, recurrent="linear_attn")
