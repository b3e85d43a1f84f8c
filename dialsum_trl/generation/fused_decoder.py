"""A decoder of few kernels for generation: nine launches a layer, prompts as packs without padding.

Projections that read one input are one matrix product, with LoRA in its weight; norms, rotation with the writing of
the cache, and the gate are one kernel each; sums into the stream are part of the products. Arithmetic and kernels are
those of the fused layers of training (`kernels.fused`).

Where the weights come from, the first that is possible:
- a frozen model's plain weights, which are moved side by side once and stay its own;
- a copy for as long as a call of `decode` takes, adapters merged in: of 4-bit weights, of models that train;
- 4-bit weights that do not fit so: each matrix is dequantized when it is needed, into one buffer.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from bitsandbytes.nn import Params4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from dialsum_trl.core.console import say
from dialsum_trl.core.launcher import current
from dialsum_trl.generation.slots import SlotCache, kernel_for
from dialsum_trl.kernels.attention import attend
from dialsum_trl.kernels.fused.attach import compile_errors, decoder_layers, known
from dialsum_trl.kernels.fused.layer import ACTIVATIONS, activation, operations
from dialsum_trl.models.families.registry import FUSED

SPARE = 16  # columns beside a dequantized matrix, where the kernel that fills it would put an adapter
CPU_COPY = 2**30  # bytes of weights that are copied without a GPU
TOLERANCE = 0.05  # of logits in half precision
TRIAL = [[1 + (7 * at + number) % 29 for at in range(size)] for number, size in enumerate((5, 33, 2))]
_TRIED: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def _base(module: nn.Module) -> nn.Module:
    return module.get_base_layer() if isinstance(module, LoraLayer) else module


def _adapters(module: nn.Module) -> list[str]:
    """The adapters that this layer adds to its weight."""
    if not isinstance(module, LoraLayer) or module.disable_adapters or module.merged:
        return []
    return [name for name in module.active_adapters if name in module.lora_A]


def _readable(module: nn.Module) -> bool:
    base = _base(module)
    if type(base).__name__ not in ("Linear", "Linear4bit") or base.weight.device.type == "meta":
        return False
    if isinstance(base.weight, Params4bit) and base.weight.device.type != "cuda" and base.support_avx512bf16_for_cpu:
        return False  # bitsandbytes repacks them
    if isinstance(module, LoraLayer):
        return all(module.lora_variant.get(n) is None and not module.lora_bias[n] for n in _adapters(module))
    return type(module) is type(base) and not module._forward_hooks


class Matrix:
    """The weights of projections that read one input, (sum N, K), with what adapters add."""

    def __init__(self, modules: Sequence[nn.Module], dtype: torch.dtype):
        self.modules, self.dtype = modules, dtype
        bases = [_base(module) for module in modules]
        self.rows = [base.out_features for base in bases]
        self.inputs, self.device = bases[0].in_features, bases[0].weight.device
        biases = [base.bias for base in bases if base.bias is not None]
        self.bias = torch.cat([bias.detach() for bias in biases]) if biases else None
        self.kept: Tensor | None = None
        self.own = all(
            not _adapters(module) and base.weight.dtype == dtype and not base.weight.requires_grad
            for module, base in zip(modules, bases, strict=True)
        )  # fmt: skip

    @property
    def bytes(self) -> int:
        """Of a copy; 0 where the model's own weights will do."""
        return 0 if self.own else sum(self.rows) * (self.inputs + SPARE) * self.dtype.itemsize

    def keep(self, ops) -> None:
        """Makes the matrix once: of the model's own weights, or as a copy."""
        weights = [_base(module).weight for module in self.modules]
        if not self.own:
            self.kept = self.filled(ops, torch.empty(self.numbers, dtype=self.dtype, device=self.device))
        elif len(weights) == 1:
            self.kept = weights[0].detach()
        else:
            self.kept = _side_by_side(weights)

    @property
    def numbers(self) -> int:
        """Elements of a copy with its spare columns."""
        return sum(self.rows) * (self.inputs + SPARE)

    def filled(self, ops, buffer: Tensor) -> Tensor:
        """The matrix, written into the first `numbers` elements of the buffer."""
        wide, row = buffer[: self.numbers].view(sum(self.rows), self.inputs + SPARE), 0
        for module, rows in zip(self.modules, self.rows, strict=True):
            weight, part = _base(module).weight, wide[row : row + rows, : self.inputs]
            if isinstance(weight, Params4bit):
                none = torch.zeros(rows, 1, dtype=self.dtype, device=self.device)
                ops.load_weight(wide, row, self.inputs, weight.detach(), weight.quant_state, none, 0, SPARE)
            else:
                part.copy_(weight.detach())
            for name in _adapters(module):
                a, b = (side[name].weight.detach().to(self.dtype) for side in (module.lora_A, module.lora_B))
                part.addmm_(b, a, alpha=module.scaling[name])
            row += rows
        return wide[:, : self.inputs]


def _side_by_side(weights: list[nn.Parameter]) -> Tensor:
    """One matrix that the weights are rows of; moved there if they are not yet."""
    first, row = weights[0], 0
    size = sum(weight.numel() for weight in weights)
    storage, offset = first.untyped_storage(), first.storage_offset()
    there = storage.nbytes() >= (offset + size) * first.itemsize
    for weight in weights:
        there = there and weight.untyped_storage().data_ptr() == storage.data_ptr() and weight.is_contiguous()
        there = there and weight.storage_offset() == offset + row
        row += weight.numel()
    if not there:
        whole, row = torch.cat([weight.detach() for weight in weights]), 0
        for weight in weights:
            weight.data = whole[row : row + weight.shape[0]]
            row += weight.shape[0]
        return whole
    return torch.as_strided(first.detach(), (size // first.shape[1], first.shape[1]), (first.shape[1], 1), offset)


class FusedDecoder:
    """The layers of a model that `fusible` knows, on a `slots.SlotCache`.

    Args:
        positions: how many positions the rotation is made for.
        once: whether matrices are made once, or each when it is needed.
    """

    def __init__(self, model: PreTrainedModel, layers: list[list[Matrix]], positions: int, once: bool):
        self.model, self.decoder, self.matrices = model, model.base_model, layers
        config, self.dtype, self.device = model.config, model.dtype, model.device
        self.ops = operations(self.dtype, self.device)
        self.heads, self.gelu = (config.num_attention_heads, config.num_key_value_heads), activation(config) != "silu"
        attention = self.decoder.layers[0].self_attn
        self.dim, self.scale, self.eps = attention.head_dim, attention.scaling, config.rms_norm_eps
        self.buffer = None
        if once:
            for matrix in (each for layer in layers for each in layer):
                matrix.keep(self.ops)
        else:
            most = max(matrix.numbers for layer in layers for matrix in layer)
            self.buffer = torch.empty(most, dtype=self.dtype, device=self.device)
        whole = torch.arange(positions, device=self.device)[None]
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        self.cos, self.sin = (x[0] for x in self.decoder.rotary_emb(like, whole))
        self.norms = [
            (layer.input_layernorm.weight.detach(), layer.post_attention_layernorm.weight.detach())
            for layer in self.decoder.layers
        ]
        normed = FUSED[type(self.decoder.layers[0]).__name__].qk_norm
        attentions = [layer.self_attn for layer in self.decoder.layers]
        self.qk_norms = [
            (each.q_norm.weight.detach(), each.k_norm.weight.detach(), self.eps) if normed else None
            for each in attentions
        ]

    def weight(self, matrix: Matrix) -> Tensor:
        """(sum N, K); where matrices are not kept, valid until the next call."""
        return matrix.filled(self.ops, self.buffer) if matrix.kept is None else matrix.kept

    def prefill(self, prompts: list[list[int]], cache: SlotCache, slots: Tensor) -> Tensor:
        """Keys and values of these prompts' tokens into `slots` of the cache.

        Args:
            prompts: none of them empty.

        Returns:
            What the last layer reads, (tokens, hidden).
        """
        sizes = [len(prompt) for prompt in prompts]
        lengths = torch.tensor(sizes)
        bounds = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        positions = torch.arange(int(bounds[-1])) - bounds[:-1].repeat_interleave(lengths)
        tokens = torch.tensor([token for prompt in prompts for token in prompt])
        tokens, positions, edges = (x.to(self.device) for x in (tokens, positions, bounds.int()))
        slots = slots.repeat_interleave(lengths.to(self.device), output_size=int(bounds[-1]))
        hidden, cos, sin = self._start(tokens, positions)
        sides = [layer.prompts for layer in cache.layers]
        last = len(self.matrices) - 1
        for number in range(last):
            qkv, rotated = self._qkv(number, hidden, cos, sin, sides[number], slots, positions)
            attended = attend(*self._split(qkv, rotated), edges, max(sizes), self.scale)[0]
            self._finish(number, hidden, attended)
        # nothing reads what the last layer makes of a prompt but its keys and values
        self._qkv(last, hidden, cos, sin, sides[last], slots, positions, keys_only=True)
        return hidden

    def step(self, tokens: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Logits (n, width, vocabulary) of one more token of each candidate, after `SlotCache.begin_step`.

        Args:
            tokens, positions: (n, width).
        """
        n, width = tokens.shape
        hidden, cos, sin = self._start(tokens.flatten(), positions.flatten())
        rows, at = cache.index[:n].expand(-1, width).flatten(), cache.at.flatten()
        for number, layer in enumerate(cache.layers):
            qkv, rotated = self._qkv(number, hidden, cos, sin, layer.rows, rows, at)
            query = self._split(qkv, rotated)[0].unflatten(0, (n, width)).transpose(1, 2)
            self._finish(number, hidden, cache.attend(query, number, self.scale).flatten(0, 1))
        normed = self.ops.rms_norm(hidden, self.decoder.norm.weight, self.eps)[0]
        return self.model.get_output_embeddings()(normed).unflatten(0, (n, width))

    def _start(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.model.get_input_embeddings()(tokens)
        return hidden, self.cos.index_select(0, positions), self.sin.index_select(0, positions)

    def _qkv(self, number: int, hidden, cos, sin, sides, rows, at, keys_only: bool = False) -> tuple[Tensor, Tensor]:
        """Queries, keys and values of a layer, and the first two rotated; keys and values are in the cache then."""
        matrix, heads = self.matrices[number][0], self.heads
        weight, bias = self.weight(matrix), matrix.bias
        if keys_only:
            first, heads = heads[0] * self.dim, (0, heads[1])
            weight, bias = weight[first:], None if bias is None else bias[first:]
        qkv = linear(self.ops.rms_norm(hidden, self.norms[number][0], self.eps)[0], weight, bias)
        norms = self.qk_norms[number]
        return qkv, self.ops.rope_into_cache(qkv, cos, sin, heads, self.dim, norms, *sides, rows, at)

    def _split(self, qkv: Tensor, rotated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nq, nk = self.heads
        query = rotated[:, : nq * self.dim].unflatten(1, (nq, self.dim))
        key = rotated[:, nq * self.dim :].unflatten(1, (nk, self.dim))
        return query, key, qkv[:, (nq + nk) * self.dim :].unflatten(1, (nk, self.dim))

    def _finish(self, number: int, hidden: Tensor, attended: Tensor) -> None:
        """Attention (T, heads, D) and MLP into the stream, in place."""
        _, out, gate_up, down = self.matrices[number]
        hidden.addmm_(attended.flatten(1), self.weight(out).t())
        normed = self.ops.rms_norm(hidden, self.norms[number][1], self.eps)[0]
        active = self.ops.swiglu(linear(normed, self.weight(gate_up), gate_up.bias), 0, self.gelu)
        hidden.addmm_(active, self.weight(down).t())


def _matrices(model: PreTrainedModel) -> list[list[Matrix]] | None:
    """The matrices of every layer; None where a layer computes something else."""
    found = []
    for layer in decoder_layers(model):
        built, attention, mlp = FUSED[type(layer).__name__], layer.self_attn, layer.mlp
        groups = [
            [getattr(attention, name) for name in built.qkv], [attention.o_proj],
            [getattr(mlp, name) for name in built.gate_up], [mlp.down_proj],
        ]  # fmt: skip
        if not all(_readable(module) for group in groups for module in group):
            return None
        biases = [{_base(module).bias is None for module in group} for group in groups]
        if any(len(each) > 1 for each in biases) or False in biases[1] | biases[3]:
            return None
        found.append([Matrix(group, model.dtype) for group in groups])
    return found


def fused_decoder(model: PreTrainedModel, positions: int) -> FusedDecoder | None:
    """The fused decoder of an unwrapped model that `decoding.can_decode`; None where transformers' layers have to do.

    They have to where layers are no plain or 4-bit linear ones with LoRA or none, where rotation depends on the length
    of a row, where processes split the weights, and where copies of 16- or 32-bit weights do not fit the memory.
    """
    config = model.config
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    if not known(model) or rope in ("dynamic", "longrope") or current().shards_weights:
        return None
    on_gpu = model.device.type == "cuda"
    if activation(config) not in ACTIVATIONS or (on_gpu and kernel_for(model.device) is None):
        return None
    layers = _matrices(model)
    if layers is None:
        return None
    needed, once = sum(matrix.bytes for layer in layers for matrix in layer), True
    if on_gpu:
        free, total = torch.cuda.mem_get_info(model.device)
        free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        once = not needed or needed <= free - total / 4
    elif needed > CPU_COPY:
        return None
    if not once and not all(isinstance(_base(m.modules[0]).weight, Params4bit) for layer in layers for m in layer):
        return None
    if model not in _TRIED:
        _TRIED[model] = _trial(model, layers, once)
    return FusedDecoder(model, layers, positions, once) if _TRIED[model] else None


def _trial(model: PreTrainedModel, layers: list[list[Matrix]], once: bool) -> bool:
    """Whether this decoder runs here and computes what transformers' layers do; prints why not."""
    try:
        differ = difference(FusedDecoder(model, layers, max(map(len, TRIAL)) + 2, once), TRIAL)
    except compile_errors() as failure:
        if isinstance(failure, torch.OutOfMemoryError):
            raise
        reason = f"its kernels do not run here ({type(failure).__name__}: {str(failure).strip().splitlines()[0][:160]})"
    else:
        if differ <= TOLERANCE:
            return True
        reason = f"its logits differ from those of transformers' layers by {differ:.3f}; please report it"
    say(f"Generating through transformers' layers, which is slower than the fused decoder: {reason}")
    return False


@torch.no_grad()
def difference(fused: FusedDecoder, prompts: list[list[int]]) -> float:
    """Relative difference between the first step's logits and those of transformers' layers, prompts alone."""
    model, count, longest = fused.model, len(prompts), max(map(len, prompts))
    cache = SlotCache(len(fused.matrices), count, count, longest, 1, 2, fused.device)
    cache.allocate(fused.heads[1], fused.dim, fused.dtype)
    rows = torch.arange(count, device=fused.device)
    cache.length.copy_(torch.tensor([len(prompt) - 1 for prompt in prompts]))
    cache.start(rows, rows)
    fused.prefill([prompt[:-1] for prompt in prompts], cache, rows)
    positions = cache.begin_step(torch.zeros_like(rows))
    last = torch.tensor([prompt[-1:] for prompt in prompts], device=fused.device)
    found = fused.step(last, positions, cache)[:, 0].float()
    alone = (torch.tensor([prompt], device=fused.device) for prompt in prompts)
    wanted = torch.stack([model(ids, logits_to_keep=1, use_cache=False).logits[0, -1] for ids in alone]).float()
    cache.layers.clear()  # they point back to the cache
    return ((found - wanted).norm() / wanted.norm()).item()
