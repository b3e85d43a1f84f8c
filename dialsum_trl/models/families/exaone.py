"""EXAONE 3.5 (Python files of its own) and 4.0, of LG AI Research; the token that ends a turn is eos."""

from dialsum_trl.models.families.family import Chat, Checkpoint, Family, Layer, License

EXAONE_LICENSE = License("other", name="exaone")

EXAONE_CHAT = Chat(
    opens="[|assistant|]",  # the role of the other turns is put together in some of its templates
    turn_end="[|endofturn|]",
    tokens=("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
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
        Checkpoint("LGAI-EXAONE/EXAONE-4.0-1.2B", EXAONE_LICENSE),
        Checkpoint("LGAI-EXAONE/EXAONE-4.0-32B", EXAONE_LICENSE),
    ),
)
