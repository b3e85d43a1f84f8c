"""A key/value cache of fixed shape: prompts in slots, what is generated in rows, and attention over both.

A slot holds the keys and values of one prompt, `[0, length)`. A row decodes `width` candidates (beams) of one prompt
and reads its slot, `source`; several rows may read the same slot, so a prompt is computed and stored once for all of
its samples. A row has `width` entries of its own per step, one for each candidate; `visible` says which of them are a
candidate's own past, so reordering beams moves a few booleans instead of the cache.
"""

import importlib.util
from collections.abc import Callable

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from dialsum_trl.core.cards import fuses

ATTENTION = "dialsum_slots"
Sides = tuple[torch.Tensor, torch.Tensor]  # keys and values, each (slots or rows, key/value heads, entries, head size)


class SlotLayer(CacheLayerMixin):
    """Keys and values of one decoder layer: of the prompts, and of the rows. All heads of an entry lie side by side."""

    def __init__(self, cache: "SlotCache"):
        super().__init__()
        self.cache = cache
        self.prompts: Sides
        self.rows: Sides

    def lazy_initialization(self, key_states, value_states):
        # zeros: a masked entry still enters a product, and 0 * NaN is NaN
        heads, size, cache = key_states.shape[1], key_states.shape[3], self.cache

        def sides(count: int, entries: int) -> Sides:
            keys, values = (
                x.new_zeros(count, entries, heads, size).transpose(1, 2) for x in (key_states, value_states)
            )
            return keys, values

        self.prompts, self.rows = sides(cache.slots, cache.longest), sides(len(cache.source), cache.entries)
        self.is_initialized = True

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.cache.write(self, key_states, value_states)
        return key_states, value_states

    def get_mask_sizes(self, query_length):
        return query_length, 0

    def get_seq_length(self):
        return 0  # positions are always given to the model

    def get_max_length(self):
        return self.cache.longest + self.cache.entries


class SlotCache(Cache):
    """The cache of all layers, and what the attention needs for the current call.

    Args:
        layers: decoder layers of the model.
        slots: prompts at a time.
        rows: what decodes at a time.
        longest: entries of a slot.
        width: candidates of a row.
        limit: steps that a row may make.
    """

    def __init__(self, layers: int, slots: int, rows: int, longest: int, width: int, limit: int, device: torch.device):
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])
        self.slots, self.longest, self.width, self.limit = slots, max(longest, 1), width, limit
        self.entries = width * limit
        self.kernel = kernel_for(device)
        self.step = torch.zeros(rows, dtype=torch.long, device=device)  # steps made, counted by the search
        self.source = torch.zeros(rows, dtype=torch.long, device=device)
        self.length = torch.zeros(slots, dtype=torch.long, device=device)
        self.visible = torch.zeros(rows, width, self.entries, dtype=torch.bool, device=device)
        self.index = torch.arange(rows, device=device)[:, None]
        self.prefill_slots = None  # slots that the present call fills, or None when it decodes
        self.at = None  # (n, width) entries that the present decoding step writes
        self.seen: torch.Tensor | None = None  # mask of the present decoding step where there is no kernel
        self.used = self.longest, self.entries  # entries that attention has to look at there

    def allocate(self, heads: int, size: int, dtype: torch.dtype) -> None:
        """Allocates the keys and values of all layers."""
        like = torch.empty(1, heads, 1, size, dtype=dtype, device=self.length.device)
        for layer in self.layers:
            layer.lazy_initialization(like, like)

    def start(self, rows: torch.Tensor, slots: torch.Tensor) -> None:
        """Has `rows` begin with the prompts of `slots`."""
        self.source[rows] = slots
        self.visible[rows] = False

    def begin_step(self, step: torch.Tensor, used: tuple[int, int] | None = None) -> torch.Tensor:
        """Prepares the decoding of the first `len(step)` rows.

        Args:
            used: entries of slots and of rows that are filled; None: all.

        Returns:
            `(n, width)` rotary positions of the tokens that come in.
        """
        n = step.shape[0]
        self.prefill_slots, self.used = None, used or (self.longest, self.entries)
        self.at = step[:, None] * self.width + torch.arange(self.width, device=step.device)
        self.visible[:n].scatter_(2, self.at[..., None], True)
        length = self.length[self.source[:n]]
        if self.kernel is None:
            prompt, own = self.used
            inside = torch.arange(prompt, device=step.device) < length[:, None]
            self.seen = torch.cat([inside[:, None].expand(-1, self.width, -1), self.visible[:n, :, :own]], 2)[:, None]
        return (length + step)[:, None].expand(-1, self.width)

    def write(self, layer: SlotLayer, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Stores keys and values `(n, heads, tokens, size)` of the present call."""
        if self.prefill_slots is not None:
            for stored, new in zip(layer.prompts, (keys, values), strict=True):
                stored[self.prefill_slots, :, : new.shape[2]] = new
        else:
            for stored, new in zip(layer.rows, (keys, values), strict=True):
                stored[self.index[: len(new)], :, self.at] = new.transpose(1, 2)

    def attend(self, query: torch.Tensor, number: int, scaling: float) -> torch.Tensor:
        """Attention of a decoding step in layer `number`: `(n, heads, width, size)` to `(n, width, heads, size)`."""
        layer = self.layers[number]
        if self.kernel is not None:
            return self.kernel(query, layer.prompts, layer.rows, self, scaling)
        n, heads, width, size = query.shape
        prompt, own = self.used
        key, value = (
            torch.cat([whole[self.source[:n], :, :prompt], row[:n, :, :own]], 2)
            for whole, row in zip(layer.prompts, layer.rows, strict=True)
        )
        # the heads that share a key/value head become more queries of that head: nothing is repeated
        query, mask = query.reshape(n, key.shape[1], -1, size), self.seen.repeat(1, 1, heads // key.shape[1], 1)
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
        return output.reshape(n, heads, width, size).transpose(1, 2).contiguous()

    def reorder(self, parents: torch.Tensor) -> None:
        """Candidate `j` of row `i` continues candidate `parents[i, j]`."""
        visible = self.visible[: parents.shape[0]]
        visible.copy_(visible.gather(1, parents[..., None].expand(-1, -1, self.entries)))

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Copies rows `sources` over rows `targets`."""
        own = [side for layer in self.layers if layer.is_initialized for side in layer.rows]
        for tensor in [self.source, self.visible, *own]:
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
    """transformers' attention interface on a `SlotCache`; a prefill (no mask) is plain causal attention.

    Shapes: query `(n, heads, width, size)`, mask anything in a decoding step; returns `(n, width, heads, size)`.
    """
    if attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, is_causal=True)
    return slots.attend(query, module.layer_idx, scaling), None


AttentionInterface.register(ATTENTION, slot_attention)
