"""Granite 3 and 4 of IBM, the dense ones: Llama's layers with scaled residuals and scores."""

from dialsum_trl.models.families.family import Family, Layer

GRANITE = Family(name="Granite", model_types=("granite",), layers=(Layer("GraniteDecoderLayer"),))
