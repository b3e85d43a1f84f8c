"""Llama 3 to 3.3: pre-norm layers without biases; turns between header tokens."""

from dialsum_trl.models.families.family import APACHE, Chat, Checkpoint, Family, Layer, License, Sizes

NOTICE = "Built with Llama."
LLAMA_3 = License("llama3", notice=NOTICE)
LLAMA_3_2 = License("llama3.2", notice=NOTICE)

HYPERCLOVAX_SEED = License("other", name="hyperclovax-seed")

LLAMA_CHAT = Chat(
    opens="<|start_header_id|>",
    turn_end="<|eot_id|>",
    tokens=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    text_ends=("<|end_of_text|>",),
    pads=("<|finetune_right_pad_id|>", "<|reserved_special_token_0|>"),
)

# from config.json
BLLOSSOM_3B = Sizes(
    layers=28, hidden=3072, query_heads=24, key_heads=8, head_dim=128, intermediate=8192, vocabulary=128256, tied=True
)
BLLOSSOM_8B = Sizes(
    layers=32, hidden=4096, query_heads=32, key_heads=8, head_dim=128, intermediate=14336, vocabulary=128256, tied=False
)

# Mistral-7B's layers, 48 of them (arXiv 2312.15166)
SOLAR_10_7B = Sizes(
    layers=48, hidden=4096, query_heads=32, key_heads=8, head_dim=128, intermediate=14336, vocabulary=32000, tied=False
)

LLAMA = Family(
    name="Llama",
    model_types=("llama",),
    chat=LLAMA_CHAT,
    layers=(Layer("LlamaDecoderLayer"),),
    slot_decoding=True,
    checkpoints=(
        Checkpoint("Bllossom/llama-3.2-Korean-Bllossom-3B", LLAMA_3_2, BLLOSSOM_3B, "sft_llama3b"),
        Checkpoint("MLP-KTLim/llama-3-Korean-Bllossom-8B", LLAMA_3, BLLOSSOM_8B, "sft_llama8b"),
        Checkpoint("kakaocorp/kanana-1.5-2.1b-instruct-2505", APACHE, own_chat=True),
        Checkpoint("kakaocorp/kanana-1.5-8b-instruct-2505", APACHE, own_chat=True),
        Checkpoint("K-intelligence/Midm-2.0-Mini-Instruct", License("mit"), own_chat=True),
        Checkpoint("K-intelligence/Midm-2.0-Base-Instruct", License("mit"), own_chat=True),
        Checkpoint("upstage/SOLAR-10.7B-Instruct-v1.0", License("cc-by-nc-4.0"), SOLAR_10_7B, own_chat=True),
        Checkpoint("naver-hyperclovax/HyperCLOVAX-SEED-Text-Instruct-0.5B", HYPERCLOVAX_SEED, own_chat=True),
        Checkpoint("naver-hyperclovax/HyperCLOVAX-SEED-Text-Instruct-1.5B", HYPERCLOVAX_SEED, own_chat=True),
    ),
)
