"""Mistral and Ministral; turns between `[INST]` marks, which older vocabularies spell in several tokens."""

from dialsum_trl.models.families.family import APACHE, Chat, Checkpoint, Family, Layer, Sizes

# from config.json
MISTRAL_7B = Sizes(
    layers=32, hidden=4096, query_heads=32, key_heads=8, head_dim=128, intermediate=14336, vocabulary=32768, tied=False
)

MISTRAL = Family(
    name="Mistral",
    model_types=("mistral", "ministral", "ministral3"),
    chat=Chat(opens="[INST]", turn_end="</s>", system=False),
    layers=(
        Layer("MistralDecoderLayer"),
        Layer("MinistralDecoderLayer"),
        Layer("Ministral3DecoderLayer", query_scaling="llama_4_scaling_beta"),
    ),
    checkpoints=(
        Checkpoint("mistralai/Mistral-7B-Instruct-v0.2", APACHE),
        Checkpoint("mistralai/Mistral-7B-Instruct-v0.3", APACHE, MISTRAL_7B),
        Checkpoint("mistralai/Mistral-Nemo-Instruct-2407", APACHE),
    ),
)
