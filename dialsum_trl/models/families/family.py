"""What is known of a model family, as data: one `Family` in one file beside this one, its checkpoints with it.

What reads it: the fused layers and slot decoding (`Family.layers`, `slot_decoding`), prompts (`Family.chat`), the model
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
        system: whether its templates have a turn for the system text; else that opens the first user turn.
        text_ends: other tokens that end a text; generation stops on them too.
        pads: tokens that vocabularies of this format have and never use in a text, best first.
    """

    opens: str
    turn_end: str
    tokens: tuple[str, ...] = ()
    system: bool = True
    text_ends: tuple[str, ...] = ()
    pads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """How a decoder layer of transformers is computed, where families differ; the fused layers follow it.

    In all of them norms are RMSNorms, heads rotate by halves (`rotate_half`), all or their first dimensions, and the
    MLP is gated. What a config says is read from it: activation, windows, rotation, the scales of the scores and of
    what attention and MLP add.

    Attributes:
        class_name: of the layer in transformers.
        attention_norm, mlp_norm: names of the norms before attention and MLP; None where they read the stream itself.
        attention_out_norm, mlp_out_norm: names of the norms of what attention and MLP add to the stream; None for none,
            and so is an `Identity` of that name.
        one_plus_norms: whether norms multiply by 1 + weight.
        qkv, gate_up: names of the projections that read attention's and the MLP's input, in the order of their outputs.
        qk_norm: whether queries and keys are normalized per head (`q_norm`, `k_norm`) before they rotate.
        query_scaling: name of the rope parameter by which queries beyond the original context are scaled.
        rotates_without_window: False where layers without a window do not rotate if others have one.
    """

    class_name: str
    attention_norm: str | None = "input_layernorm"
    attention_out_norm: str | None = None
    mlp_norm: str | None = "post_attention_layernorm"
    mlp_out_norm: str | None = None
    one_plus_norms: bool = False
    qkv: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    gate_up: tuple[str, ...] = ("gate_proj", "up_proj")
    qk_norm: bool = False
    query_scaling: str | None = None
    rotates_without_window: bool = True


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
        sizes: of those that `dialsum doctor` plans without their files.
        recipe: name of the recipe made for it; doctor proposes these where another does not fit.
        model_type: where its family has several, which of them; by default the first.
        own_chat: whether its chat template is of another format than the family's, or was not seen.
    """

    repo_id: str
    license: License
    sizes: Sizes | None = None
    recipe: str | None = None
    model_type: str | None = None
    own_chat: bool = False


@dataclass(frozen=True)
class Family:
    """Models of one architecture.

    Attributes:
        name: for messages.
        model_types: `config.model_type` in transformers.
        chat: format of its chat templates; None for encoder-decoders.
        layers: what the fused layers compute; without them its layers run as transformers wrote them.
        recurrent: name of the mixers, in some of its layers, that carry a state from token to token.
        slot_decoding: whether `generation.decoding` knows it: its attention goes through transformers' interface with
            a scale and a mask and nothing else, its norms are plain RMSNorms. Layers with a window are excluded there.
        float16: False where activations are known to overflow, and `--dtype float16` is refused.
        checkpoints: those with a licence or sizes to look up.
    """

    name: str
    model_types: tuple[str, ...]
    chat: Chat | None = None
    layers: tuple[Layer, ...] = ()
    recurrent: str | None = None
    slot_decoding: bool = False
    float16: bool = True
    checkpoints: tuple[Checkpoint, ...] = ()


APACHE = License("apache-2.0")
