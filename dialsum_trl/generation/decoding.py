"""Fast decoding: many prompts in slots of one cache, finished ones replaced by the next.

On a GPU one step (model, attention over the slots, choice of the tokens) is a captured CUDA graph, so the host launches
one graph per step instead of a thousand kernels. On a CPU the same step runs eagerly over exactly the active slots.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from peft import PeftModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.search import BeamSearch, Sampler
from dialsum_trl.generation.settings import GenerationSettings, Ids, OnFinish
from dialsum_trl.generation.slots import ATTENTION, SlotCache
from dialsum_trl.models.devices import wide_dtype
from dialsum_trl.models.families.registry import family_of
from dialsum_trl.models.overflow import first_overflow

Model = PreTrainedModel | PeftModel
PREFILL_TOKENS = 16384  # tokens of one prefill call on a GPU: enough to fill it, little enough for its activations
MOST_SEQUENCES = 512  # beams or samples at a time on a GPU; beyond that a step costs as much as it gains
MOST_PROMPTS = 256
CPU_SEQUENCES = 128  # on two cores; more only pads
# Without cuDNN's: it plans anew for every shape, and every prefill has its own (0.05 s each on an H100).
ATTENTION_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
STRIDE = 8  # steps between two looks at what has finished: each look waits for the GPU


def unwrapped(model: Model) -> PreTrainedModel:
    """The transformers model inside a LoRA model (its injected layers stay active)."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def can_decode(model: Model) -> bool:
    """Whether this module knows the architecture (`Family.slot_decoding`), with full attention, LoRA or none."""
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        return False
    config = unwrapped(model).config
    family = family_of(config.model_type)
    if family is None or not family.slot_decoding:
        return False
    return "sliding_attention" not in config.to_dict().get("layer_types", ())


@contextmanager
def inference(model: Model) -> Iterator[None]:
    """Evaluation mode, slot attention and (on a GPU) fused norms; everything is put back afterwards.

    Compiled layers run eagerly meanwhile: the step is captured as a whole, with shapes they were not compiled for.
    """
    config, training = model.config, [m for m in model.modules() if m.training]
    attention, norms = config._attn_implementation, []
    on_gpu = next(model.parameters()).is_cuda
    try:
        model.eval()
        config._attn_implementation = ATTENTION
        for module in model.modules():
            # transformers' RMSNorm is seven kernels, PyTorch's one; a patched forward is left alone
            if on_gpu and type(module).__name__.endswith("RMSNorm") and "forward" not in module.__dict__:
                module.forward = _fused_norm(module)
                norms.append(module)
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), sdpa_kernel(ATTENTION_BACKENDS):
            yield
    finally:
        config._attn_implementation = attention
        for module in norms:
            del module.forward
        for module in training:
            module.training = True


def _fused_norm(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    shape = module.weight.shape
    return lambda hidden: torch.nn.functional.rms_norm(hidden, shape, module.weight, module.variance_epsilon)


def slots_that_fit(model: Model, settings: GenerationSettings, capacity: int, prompts: int) -> int:
    """How many prompts to decode at a time: `settings.batch_size`, or what fits the memory and is still faster.

    Args:
        capacity: cache entries of a slot.
        prompts: how many there are.
    """
    width, config, device = settings.width, model.config, model.device
    if settings.batch_size:
        return min(settings.batch_size, prompts)
    if device.type != "cuda":
        return min(max(CPU_SEQUENCES // width, 1), prompts)
    most = min(MOST_PROMPTS, max(MOST_SEQUENCES // width, 1), prompts)
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    size = config.to_dict().get("head_dim") or config.hidden_size // config.num_attention_heads  # Qwen2 has none
    itemsize = next(p for p in model.parameters() if p.is_floating_point()).element_size()
    slot = config.num_hidden_layers * 2 * config.num_key_value_heads * size * capacity * itemsize
    slot += width * config.vocab_size * 16  # logits, in the model's dtype and three times in float32
    activations = PREFILL_TOKENS * (8 * config.hidden_size + 3 * config.intermediate_size) * itemsize
    return max(1, min(most, int((0.9 * free - activations) // slot)))


class Decoder:
    """Generates for any number of prompts with a fixed number of slots.

    Args:
        slots: prompts at a time.
        longest: tokens of the longest prompt without its last one.
    """

    def __init__(
        self, model: Model, settings: GenerationSettings, stop_ids: Ids, pad_id: int, slots: int, longest: int
    ):
        self.model, self.settings, self.pad_id, self.slots = model, settings, pad_id, slots
        self.device = model.device
        self.on_gpu = self.device.type == "cuda"
        search = BeamSearch if settings.num_beams > 1 else Sampler
        self.search = search(slots, settings.width, settings, stop_ids, self.device)
        capacity = longest + settings.width * settings.max_new_tokens
        capacity = -(-capacity // 16) * 16  # aligned masks
        self.cache = SlotCache(
            model.config.num_hidden_layers, slots, capacity, settings.width, settings.max_new_tokens, self.device
        )
        self.cache.step = self.search.step
        self.group = model.config.num_attention_heads // model.config.num_key_value_heads
        self.graphs, self.pool = {}, None
        self.owner = [None] * slots  # which prompt a slot works on
        self.taken = [0] * slots  # steps it has made

    def run(self, prompts: list[Ids], seeds: list[list[int]], on_finish: OnFinish) -> list[list[Ids]]:
        """Returns `num_return_sequences` uncut id lists of `max_new_tokens` for each prompt, in the order given.

        `on_finish(count)` is called whenever prompts have finished.
        """
        # longest first: neighbours are alike, so little is padded, and the last slots to finish are the short ones
        waiting = deque(sorted(range(len(prompts)), key=lambda i: -len(prompts[i])))
        results, active = [None] * len(prompts), 0
        refill = max(self.slots // 4, 1)
        while waiting or active:
            free = [slot for slot in range(self.slots) if self.owner[slot] is None]
            if waiting and len(free) >= min(refill, len(waiting)):
                chosen = [waiting.popleft() for _ in range(min(len(free), len(waiting)))]
                self._start(free[: len(chosen)], chosen, prompts, seeds)
            n = self._compact()
            busy = [slot for slot in range(n) if self.owner[slot] is not None]
            ahead = min(self.settings.max_new_tokens - self.taken[slot] for slot in busy)
            for _ in range(min(STRIDE, ahead) if self.on_gpu else 1):
                self._step(n)
            done = self.search.done[:n].tolist()
            finished = [slot for slot in busy if done[slot]]
            if finished:
                sequences = self.search.sequences(torch.tensor(finished, device=self.device))
                for slot, ids in zip(finished, sequences, strict=True):
                    results[self.owner[slot]] = ids
                    self.owner[slot] = None
                on_finish(len(finished))
            active = len(busy) - len(finished)
        return results

    def _start(self, slots: list[int], chosen: list[int], prompts: list[Ids], seeds: list[list[int]]) -> None:
        """Fills `slots` with the prompts `chosen`. Their last tokens are left for the first decoding step."""
        rows = torch.tensor(slots, device=self.device)
        lengths = [len(prompts[i]) - 1 for i in chosen]
        self.cache.start(rows, torch.tensor(lengths, device=self.device))
        last = torch.tensor([prompts[i][-1] for i in chosen], device=self.device)
        self.search.start(rows, last, [seeds[i] for i in chosen])
        for slot, i in zip(slots, chosen, strict=True):
            self.owner[slot], self.taken[slot] = i, 0
        at = 0
        while at < len(chosen) and lengths[at]:
            count = max(PREFILL_TOKENS // lengths[at], 1)  # lengths fall, the first is the longest
            part = slice(at, at + count)
            batch = torch.full((len(chosen[part]), lengths[at]), self.pad_id)
            for row, i in enumerate(chosen[part]):
                batch[row, : len(prompts[i]) - 1] = torch.tensor(prompts[i][:-1])
            # padded on the right: under causal attention no real token sees the padding, so no mask is needed
            self.cache.prefill_rows = rows[part]
            logits = self._forward(batch.to(self.device), torch.arange(lengths[at], device=self.device)[None], None)
            if logits.dtype == torch.float16 and not torch.isfinite(logits).all():
                layer = first_overflow(self.model, {"input_ids": batch})
                raise InputError(f"{layer} overflowed in float16: give --dtype {wide_dtype()}")
            at += count

    def _forward(self, tokens: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return self.model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1 if mask is None else 0,
            slots=self.cache,
        ).logits

    def _compact(self) -> int:
        """Moves the busy slots to the front where that makes the steps cheaper; returns how many slots take part."""
        busy = [slot for slot in range(self.slots) if self.owner[slot] is not None]
        n = len(busy)
        if self.on_gpu:  # one graph per size: quarters, since a capture costs as much as several steps
            n = self.slots
            while n // 4 >= len(busy):
                n //= 4
        sources = [slot for slot in busy if slot >= n]
        targets = [slot for slot in range(n) if self.owner[slot] is None][: len(sources)]
        if sources:
            source, target = (torch.tensor(slots, device=self.device) for slots in (sources, targets))
            self.cache.move(source, target)
            for tensor in self.search.state():
                tensor[target] = tensor[source]
            for old, new in zip(sources, targets, strict=True):
                self.owner[new], self.taken[new], self.owner[old] = self.owner[old], self.taken[old], None
        return n

    def _step(self, n: int) -> None:
        """One token for the first n slots; on a GPU the second call with the same n captures a graph."""
        for slot in range(n):
            self.taken[slot] += 1
        if not self.on_gpu:
            ends = self.cache.length[:n] + self.settings.width * (self.search.step[:n] + 1)
            self._advance(n, int(ends.max()))
        elif n not in self.graphs:
            self._advance(n, self.cache.capacity)  # a real step, which also warms up what may not be captured
            self.graphs[n] = None
        else:
            if self.graphs[n] is None:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=self.pool):
                    self._advance(n, self.cache.capacity)
                self.graphs[n], self.pool = graph, graph.pool()
            self.graphs[n].replay()

    def _advance(self, n: int, used: int) -> None:
        step = self.search.step[:n].clamp(max=self.settings.max_new_tokens - 1)
        positions = self.cache.begin_step(step, used)
        mask = self.cache.visible[:n, None, :, :used]
        if self.cache.kernel is None:
            mask = mask.repeat(1, 1, self.group, 1)
        parents = self.search.advance(self._forward(self.search.tokens[:n], positions, mask))
        if parents is not None:
            self.cache.reorder(parents)


def decode(
    model: Model, prompts: list[Ids], settings: GenerationSettings, stop_ids: Ids, pad_id: int, on_finish: OnFinish
) -> list[list[Ids]]:
    """`engine.generate_ids` for an unwrapped model that `can_decode`; not yet cut at the stop token."""
    seeds = [[settings.seed, zlib.crc32(str(prompt).encode())] for prompt in prompts]
    longest = max(map(len, prompts)) - 1
    with inference(model):
        slots = slots_that_fit(model, settings, longest + settings.width * settings.max_new_tokens, len(prompts))
        decoder = Decoder(model, settings, stop_ids, pad_id, slots, longest)
        try:
            return decoder.run(prompts, seeds, on_finish)
        finally:
            decoder.cache.layers.clear()  # they point back to the cache: its memory would wait for the collector
