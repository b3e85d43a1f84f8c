"""A key/value cache of fixed shape in which every prompt owns a slot, and attention over it.

Slot layout, for a prompt of `length` cached tokens: `[0, length)` the prompt, then `width` entries per step, one for
each candidate (beam or sample). All candidates of a prompt read the same slot; `visible` says which entries are a
candidate's own past. So the prompt is stored and read once for all beams, and reordering beams moves a few booleans
instead of the cache.
"""

import importlib.util
from collections.abc import Callable

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from dialsum_trl.core.cards import fuses

ATTENTION = "dialsum_slots"


class SlotLayer(CacheLayerMixin):
    """Keys and values of one decoder layer: `(slots, key/value heads, capacity, head size)`."""

    def __init__(self, cache: "SlotCache"):
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states, value_states):
        # zeros: a masked entry still enters a product, and 0 * NaN is NaN
        heads, size = key_states.shape[1], key_states.shape[3]
        shape = (self.cache.slots, heads, self.cache.capacity, size)
        self.keys, self.values = key_states.new_zeros(shape), value_states.new_zeros(shape)
        self.is_initialized = True

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self.cache.write(self.keys, key_states), self.cache.write(self.values, value_states)

    def get_mask_sizes(self, query_length):
        return query_length, 0

    def get_seq_length(self):
        return 0  # positions are always given to the model

    def get_max_length(self):
        return self.cache.capacity


class SlotCache(Cache):
    """The cache of all layers, and what the attention needs for the current call.

    Args:
        layers: decoder layers of the model.
        slots: prompts at a time.
        capacity: entries of a slot, `longest prompt + width * max_new_tokens`.
        width: candidates of a prompt.
        limit: steps that a prompt may make.
    """

    def __init__(self, layers: int, slots: int, capacity: int, width: int, limit: int, device: torch.device):
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])
        self.slots, self.capacity, self.width, self.limit = slots, capacity, width, limit
        self.kernel = kernel_for(device)
        self.step = torch.zeros(slots, dtype=torch.long, device=device)  # steps made, counted by the search
        self.length = torch.zeros(slots, dtype=torch.long, device=device)
        self.visible = torch.zeros(slots, width, capacity, dtype=torch.bool, device=device)
        self.index = torch.arange(slots, device=device)[:, None]
        self.prefill_rows = None  # slots that the present call fills, or None when it decodes
        self.at = None  # (n, width) entries that the present decoding step writes
        self.used = capacity  # entries of a slot that attention has to look at

    def start(self, rows: torch.Tensor, lengths: torch.Tensor) -> None:
        """Gives `rows` to new prompts of `lengths` cached tokens."""
        self.length[rows] = lengths
        inside = torch.arange(self.capacity, device=lengths.device) < lengths[:, None]
        self.visible[rows] = inside[:, None].expand(-1, self.width, -1)

    def begin_step(self, step: torch.Tensor, used: int) -> torch.Tensor:
        """Prepares the decoding of the first `len(step)` slots.

        Returns:
            `(n, width)` rotary positions of the tokens that come in.
        """
        n = step.shape[0]
        first = self.length[:n] + step * self.width
        self.prefill_rows, self.used = None, used
        self.at = first[:, None] + torch.arange(self.width, device=step.device)
        self.visible[:n].scatter_(2, self.at[..., None], True)
        return (self.length[:n] + step)[:, None].expand(-1, self.width)

    def write(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Stores `new` `(n, heads, tokens, size)` and returns what attention reads."""
        if self.prefill_rows is not None:
            stored[self.prefill_rows, :, : new.shape[2]] = new
            return new
        n = new.shape[0]
        stored[self.index[:n], :, self.at] = new.transpose(1, 2)
        return stored[:n, :, : self.used]

    def reorder(self, parents: torch.Tensor) -> None:
        """Candidate `j` of row `i` continues candidate `parents[i, j]`."""
        visible = self.visible[: parents.shape[0]]
        visible.copy_(visible.gather(1, parents[..., None].expand(-1, -1, self.capacity)))

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Copies slots `sources` over slots `targets`."""
        layers = [tensor for layer in self.layers if layer.is_initialized for tensor in (layer.keys, layer.values)]
        for tensor in [self.length, self.visible, *layers]:
            tensor[targets] = tensor[sources]


def kernel_for(device: torch.device) -> Callable | None:
    """The Triton kernel on a CUDA device that Triton compiles for, else None (PyTorch's attention with a mask)."""
    if device.type != "cuda" or torch.version.cuda is None or importlib.util.find_spec("triton") is None:
        return None
    if not fuses(torch.cuda.get_device_capability(device)):
        return None
    from dialsum_trl.kernels.slot_attention import attend  # imports Triton, which is not everywhere

    return attend


def slot_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, slots=None, **kwargs):
    """Attention of a decoding step over a `SlotCache`; a prefill (no mask) is plain causal attention.

    Shapes: query `(n, heads, width, size)`, key and value `(n, key/value heads, used, size)`, mask
    `(n, 1, heads / key/value heads * width, used)`; returns `(n, width, heads, size)`.
    """
    if attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, is_causal=True)
    n, heads, width, size = query.shape
    if slots.kernel is not None:
        return slots.kernel(query, key, value, slots, scaling), None
    # the heads that share a key/value head become more queries of that head: nothing is repeated
    query = query.reshape(n, key.shape[1], -1, size)
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling
    )
    return output.reshape(n, heads, width, size).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, slot_attention)
