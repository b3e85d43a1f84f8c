"""EXAONE 3.5 (Python files of its own) and 4.0, of LG AI Research; the token that ends a turn is eos."""

from dialsum_trl.models.families.family import Chat, Checkpoint, Family, Layer, License, Sizes

EXAONE_LICENSE = License("other", name="exaone")

EXAONE_CHAT = Chat(
    opens="[|assistant|]",  # the role of the other turns is put together in some of its templates
    turn_end="[|endofturn|]",
    tokens=("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
)

# from config.json
EXAONE_4_1B = Sizes(
    layers=30, hidden=2048, query_heads=32, key_heads=8, head_dim=64, intermediate=4096, vocabulary=102400, tied=True
)
EXAONE_4_32B = Sizes(
    layers=64, hidden=5120, query_heads=40, key_heads=8, head_dim=128, intermediate=27392, vocabulary=102400, tied=False
)

EXAONE = Family(
    name="EXAONE",
    model_types=("exaone", "exaone4"),
    chat=EXAONE_CHAT,
    layers=(
        Layer(
            "Exaone4DecoderLayer",
            attention_norm=None,
            attention_out_norm="post_attention_layernorm",
            mlp_norm=None,
            mlp_out_norm="post_feedforward_layernorm",
            qk_norm=True,
            rotates_without_window=False,
        ),
    ),
    checkpoints=(
        Checkpoint("LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct", EXAONE_LICENSE),
        Checkpoint("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct", EXAONE_LICENSE),
        Checkpoint("LGAI-EXAONE/EXAONE-4.0-1.2B", EXAONE_LICENSE, EXAONE_4_1B, model_type="exaone4"),
        Checkpoint("LGAI-EXAONE/EXAONE-4.0-32B", EXAONE_LICENSE, EXAONE_4_32B, model_type="exaone4"),
    ),
)
