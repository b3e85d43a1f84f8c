"""Phi-3, 3.5 and 4-mini of Microsoft: one projection for queries, keys and values, one for gate and up."""

from dialsum_trl.models.families.family import Checkpoint, Family, Layer, License

MIT = License("mit")

PHI3 = Family(
    name="Phi",
    model_types=("phi3",),
    layers=(Layer("Phi3DecoderLayer", qkv=("qkv_proj",), gate_up=("gate_up_proj",)),),
    checkpoints=(Checkpoint("microsoft/Phi-4-mini-instruct", MIT), Checkpoint("microsoft/Phi-3.5-mini-instruct", MIT)),
)
