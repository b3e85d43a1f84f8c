"""HyperCLOVA X SEED Think of NAVER, with norms around attention and MLP; the smaller SEED models are Llamas."""

from dialsum_trl.models.families.family import Checkpoint, Family, Layer, License

HYPERCLOVAX = Family(
    name="HyperCLOVA X",
    model_types=("hyperclovax",),
    layers=(Layer("HyperCLOVAXDecoderLayer", attention_out_norm="post_norm1", mlp_out_norm="post_norm2"),),
    checkpoints=(Checkpoint("naver-hyperclovax/HyperCLOVAX-SEED-Think-14B", License("other")),),
)
