"""Gemma 1 to 4, the models of text alone; eos ends a text, another token a turn."""

from dialsum_trl.models.families.family import Chat, Checkpoint, Family, Layer, License, Sizes

# section 3.1 of the terms wants this sentence with every distribution
TERMS = License(
    "gemma", notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms."
)

GEMMA_CHAT = Chat(
    opens="<start_of_turn>",
    turn_end="<end_of_turn>",
    tokens=("<bos>", "<start_of_turn>", "<end_of_turn>"),
    system=False,
    text_ends=("<eos>",),
    pads=("<pad>",),
)
GEMMA4_CHAT = Chat(
    opens="<|turn>",
    turn_end="<turn|>",
    tokens=("<bos>", "<|turn>", "<turn|>"),
    text_ends=("<eos>",),
    pads=("<pad>",),
)

# from config.json
GEMMA_3_4B = Sizes(
    layers=34, hidden=2560, query_heads=8, key_heads=4, head_dim=256, intermediate=10240, vocabulary=262208, tied=True
)

GEMMA = Family(
    name="Gemma",
    model_types=("gemma", "gemma2", "gemma3_text"),
    chat=GEMMA_CHAT,
    layers=(
        Layer(
            "Gemma3DecoderLayer",
            attention_out_norm="post_attention_layernorm",
            mlp_norm="pre_feedforward_layernorm",
            mlp_out_norm="post_feedforward_layernorm",
            one_plus_norms=True,
            qk_norm=True,
        ),
        Layer("GemmaDecoderLayer", one_plus_norms=True),
    ),
    checkpoints=(
        Checkpoint("google/gemma-2-2b-it", TERMS, model_type="gemma2"),
        Checkpoint("google/gemma-2-9b-it", TERMS, model_type="gemma2"),
        Checkpoint("google/gemma-3-1b-it", TERMS, model_type="gemma3_text"),
        Checkpoint("google/gemma-3-4b-it", TERMS, GEMMA_3_4B, model_type="gemma3"),
        Checkpoint("google/gemma-3-12b-it", TERMS, model_type="gemma3"),
    ),
)

GEMMA4 = Family(name="Gemma 4", model_types=("gemma4_text",), chat=GEMMA4_CHAT)
