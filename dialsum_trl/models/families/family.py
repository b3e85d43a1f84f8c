"""What is known of a model family, as data: one `Family` in one file beside this one, its checkpoints with it.

What reads it: the fused layers and slot decoding (`Family.layer`, `slot_decoding`), prompts (`Family.chat`), the model
card, `dialsum doctor` and the origin of a base (`Family.checkpoints`). Only facts that something reads are here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chat:
    """The control tokens of a chat format.

    Attributes:
        opens: begins a turn; a chat template that writes it is of this format.
        turn_end: ends a turn: the last token that training supervises, the first that generation stops on.
        tokens: all that templates of this format write as single tokens. SFT adds those that a vocabulary lacks and
            trains their rows, in this order: an adapter's saved rows depend on it.
        text_ends: other tokens that end a text; generation stops on them too.
        pads: tokens that vocabularies of this format have and never use in a text, best first.
    """

    opens: str
    turn_end: str
    tokens: tuple[str, ...] = ()
    text_ends: tuple[str, ...] = ()
    pads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """How a decoder layer of transformers is computed, where families differ; the fused layers follow it.

    In all of them RMSNorm weights multiply, heads rotate by halves (`rotate_half`), and the MLP is gated. A family that
    needs more (a norm after attention, another rotation) gets a field here and its implementation in the fused layers.

    Attributes:
        class_name: of the layer in transformers.
        attention_norm: name of the norm before attention.
        mlp_norm: name of the norm before the MLP.
        activation: of the MLP's gate, as `config.hidden_act` names it.
        qk_norm: whether queries and keys are normalized per head (`q_norm`, `k_norm`) before they rotate.
        qkv_bias: whether `q_proj`, `k_proj` and `v_proj` add a bias; no other projection may.
        windows: whether `config.layer_types` may give a layer a sliding window, which nothing here computes yet.
    """

    class_name: str
    attention_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"
    activation: str = "silu"
    qk_norm: bool = False
    qkv_bias: bool = False
    windows: bool = False


@dataclass(frozen=True)
class License:
    """Terms of a checkpoint.

    Attributes:
        id: identifier of the Hub's `license` field.
        name: what it is called where `id` is "other".
        notice: sentence that every derived model must display; None if the terms require none.
    """

    id: str
    name: str | None = None
    notice: str | None = None


@dataclass(frozen=True)
class Sizes:
    """The shape of a decoder, from its config.json, for machines that do not have it.

    Attributes:
        layers: decoder layers.
        hidden: width of the residual stream.
        query_heads, key_heads: heads of queries, and of keys and values.
        head_dim: width of one head.
        intermediate: width of the MLP.
        vocabulary: rows of the embedding table.
        tied: whether the output layer is the embedding table.
    """

    layers: int
    hidden: int
    query_heads: int
    key_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def parameters(self) -> int:
        """Weights of all matrices; norms and biases, under 0.1 %, are left out."""
        attention = 2 * self.hidden * (self.query_heads + self.key_heads) * self.head_dim
        tables = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * (attention + 3 * self.hidden * self.intermediate) + tables


@dataclass(frozen=True)
class Checkpoint:
    """Weights on the Hub.

    Attributes:
        repo_id: owner/name.
        license: as its repository states it.
        sizes: of those that `dialsum doctor` plans without their files, and proposes where a recipe does not fit.
    """

    repo_id: str
    license: License
    sizes: Sizes | None = None


@dataclass(frozen=True)
class Family:
    """Models of one architecture.

    Attributes:
        name: for messages.
        model_types: `config.model_type` in transformers.
        chat: format of its chat templates; None for encoder-decoders.
        layer: what the fused layers compute; None: its layers run as transformers wrote them.
        slot_decoding: whether `generation.decoding` knows it: its attention goes through transformers' interface with
            a scale and a mask and nothing else, its norms are plain RMSNorms. Layers with a window are excluded there.
        float16: False where activations are known to overflow, and `--dtype float16` is refused.
        checkpoints: those with a licence or sizes to look up.
    """

    name: str
    model_types: tuple[str, ...]
    chat: Chat | None = None
    layer: Layer | None = None
    slot_decoding: bool = False
    float16: bool = True
    checkpoints: tuple[Checkpoint, ...] = ()


APACHE = License("apache-2.0")
