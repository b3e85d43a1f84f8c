"""Mistral and Ministral; turns between `[INST]` marks, which older vocabularies spell in several tokens."""

from dialsum_trl.models.families.family import APACHE, Chat, Checkpoint, Family, Layer

MISTRAL = Family(
    name="Mistral",
    model_types=("mistral", "ministral", "ministral3"),
    chat=Chat(opens="[INST]", turn_end="</s>"),
    layers=(
        Layer("MistralDecoderLayer"),
        Layer("MinistralDecoderLayer"),
        Layer("Ministral3DecoderLayer", query_scaling="llama_4_scaling_beta"),
    ),
    checkpoints=(
        Checkpoint("mistralai/Mistral-7B-Instruct-v0.2", APACHE),
        Checkpoint("mistralai/Mistral-7B-Instruct-v0.3", APACHE),
        Checkpoint("mistralai/Mistral-Nemo-Instruct-2407", APACHE),
    ),
)
