"""Fast decoding: many prompts in slots of one cache, and rows that decode them; a finished row goes on with the next.

Each sample of a prompt is a row of its own, so one that ends early leaves its place to another; the beams of a prompt
are one row. On a GPU one step (model, attention over the cache, choice of the tokens) is a captured CUDA graph, so the
host launches one graph per step instead of hundreds of kernels. On a CPU the same step runs eagerly over exactly the
active rows.
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
from dialsum_trl.generation.fused_decoder import FusedDecoder, fused_decoder
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
SLOTS = 2  # for each prompt whose samples fill the rows: the last of some are still decoded with the first of others
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


def prompts_that_fit(model: Model, settings: GenerationSettings, longest: int, prompts: int) -> int:
    """How many prompts to decode at a time: `settings.batch_size`, or what fits the memory and is still faster.

    Args:
        longest: cache entries of a prompt.
        prompts: how many there are.
    """
    width, config, device = settings.width, model.config, model.device
    capacity = longest * (1 if settings.samples == 1 else SLOTS) + width * settings.max_new_tokens
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
    """Generates for any number of prompts with a fixed number of rows.

    Args:
        at_once: prompts at a time.
        longest: tokens of the longest prompt without its last one.
        fused: the model's layers in few kernels; None: transformers' layers.
    """

    def __init__(
        self, model: Model, settings: GenerationSettings, stop_ids: Ids, pad_id: int, at_once: int, longest: int,
        fused: FusedDecoder | None,
    ):  # fmt: skip
        self.model, self.settings, self.pad_id, self.fused = model, settings, pad_id, fused
        self.rows, beams = at_once * settings.samples, settings.num_beams
        slots = at_once * (1 if settings.samples == 1 else SLOTS)
        self.device = model.device
        self.on_gpu = self.device.type == "cuda"
        search = BeamSearch if settings.num_beams > 1 else Sampler
        self.search = search(self.rows, beams, settings, stop_ids, self.device)
        self.cache = SlotCache(
            model.config.num_hidden_layers, slots, self.rows, longest, beams, settings.max_new_tokens, self.device
        )
        self.cache.step = self.search.step
        if fused is not None:
            self.cache.allocate(fused.heads[1], fused.dim, fused.dtype)
        self.graphs, self.pool = {}, None
        self.free = list(range(slots))  # slots without a prompt
        self.slot_of: dict[int, int] = {}  # prompt -> slot, of prompts with samples that are not finished
        self.owner = [None] * self.rows  # (prompt, sample) that a row works on
        self.taken = [0] * self.rows  # steps it has made

    def run(self, prompts: list[Ids], seeds: list[list[int]], on_finish: OnFinish) -> list[list[Ids]]:
        """Returns `num_return_sequences` uncut id lists of `max_new_tokens` for each prompt, in the order given.

        `on_finish(count)` is called whenever prompts have finished.
        """
        # longest first: neighbours are alike, so little is padded, and the last rows to finish are the short ones
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        samples = self.settings.samples
        waiting = deque((i, sample) for i in order for sample in range(samples))
        results, left, active = [[None] * samples for _ in prompts], [samples] * len(prompts), 0
        refill = max(self.rows // (4 if samples == 1 else 8), 1)  # the other samples of a prompt cost nothing to start
        while waiting or active:
            idle = [row for row in range(self.rows) if self.owner[row] is None]
            if waiting and len(idle) >= min(refill, len(waiting)):
                self._start(idle, waiting, prompts, seeds)
            n = self._compact()
            busy = [row for row in range(n) if self.owner[row] is not None]
            ahead = min(self.settings.max_new_tokens - self.taken[row] for row in busy)
            for _ in range(min(STRIDE, ahead) if self.on_gpu else 1):
                self._step(n)
            done = self.search.done[:n].tolist()
            finished = [row for row in busy if done[row]]
            if finished:
                sequences = self.search.sequences(torch.tensor(finished, device=self.device))
                before = len(self.slot_of)
                for row, ids in zip(finished, sequences, strict=True):
                    prompt, sample = self.owner[row]
                    results[prompt][sample], self.owner[row] = ids, None
                    left[prompt] -= 1
                    if not left[prompt]:
                        self.free.append(self.slot_of.pop(prompt))
                if before > len(self.slot_of):
                    on_finish(before - len(self.slot_of))
            active = len(busy) - len(finished)
        return [[ids for several in candidates for ids in several] for candidates in results]

    def _start(self, idle: list[int], waiting: deque, prompts: list[Ids], seeds: list[list[int]]) -> None:
        """Has idle rows begin with what waits, as long as there are slots for new prompts.

        The last token of a prompt is left for the first decoding step.
        """
        chosen, new = [], []
        while waiting and len(chosen) < len(idle):
            prompt = waiting[0][0]
            if prompt not in self.slot_of:
                if not self.free:
                    break
                self.slot_of[prompt] = self.free.pop()
                new.append(prompt)
            chosen.append(waiting.popleft())
        self._prefill([prompts[i] for i in new], [self.slot_of[i] for i in new])
        if not chosen:
            return
        rows = torch.tensor(idle[: len(chosen)], device=self.device)
        self.cache.start(rows, torch.tensor([self.slot_of[i] for i, _ in chosen], device=self.device))
        last = torch.tensor([prompts[i][-1] for i, _ in chosen], device=self.device)
        self.search.start(rows, last, [(seeds[i], sample) for i, sample in chosen])
        for row, work in zip(idle, chosen, strict=False):
            self.owner[row], self.taken[row] = work, 0

    def _prefill(self, prompts: list[Ids], slots: list[int]) -> None:
        """Fills slots with prompts, longest first, without their last tokens."""
        lengths = [len(prompt) - 1 for prompt in prompts]
        slots = torch.tensor(slots, dtype=torch.long, device=self.device)
        self.cache.length[slots] = torch.tensor(lengths, dtype=torch.long, device=self.device)
        lengths = [length for length in lengths if length]
        if self.fused is not None:
            for part in packs(lengths, PREFILL_TOKENS):
                hidden = self.fused.prefill([prompt[:-1] for prompt in prompts[part]], self.cache, slots[part])
                self._check(hidden, prompts[part])
            return
        at = 0
        while at < len(lengths):
            count = max(PREFILL_TOKENS // lengths[at], 1)  # lengths fall, the first is the longest
            part = slice(at, min(at + count, len(lengths)))
            batch = torch.full((len(lengths[part]), lengths[at]), self.pad_id)
            for row, prompt in enumerate(prompts[part]):
                batch[row, : len(prompt) - 1] = torch.tensor(prompt[:-1])
            # padded on the right: under causal attention no real token sees the padding, so no mask is needed
            self.cache.prefill_slots = slots[part]
            logits = self._forward(batch.to(self.device), torch.arange(lengths[at], device=self.device)[None], None)
            self._check(logits, prompts[part])
            at += count

    def _check(self, values: torch.Tensor, prompts: list[Ids]) -> None:
        """Raises InputError where what a prefill computed has overflowed in float16."""
        if values.dtype == torch.float16 and not torch.isfinite(values).all():
            batch = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(prompt) for prompt in prompts], batch_first=True, padding_value=self.pad_id
            )
            layer = first_overflow(self.model, {"input_ids": batch})
            raise InputError(f"{layer} overflowed in float16: give --dtype {wide_dtype()}")

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
        """Moves the busy rows to the front where that makes the steps cheaper; returns how many rows take part."""
        busy = [row for row in range(self.rows) if self.owner[row] is not None]
        n = len(busy)
        if self.on_gpu:  # one graph per size: quarters, since a capture costs as much as several steps
            n = self.rows
            while n // 4 >= len(busy):
                n //= 4
        sources = [row for row in busy if row >= n]
        targets = [row for row in range(n) if self.owner[row] is None][: len(sources)]
        if sources:
            source, target = (torch.tensor(rows, device=self.device) for rows in (sources, targets))
            self.cache.move(source, target)
            for tensor in self.search.state():
                tensor[target] = tensor[source]
            for old, new in zip(sources, targets, strict=True):
                self.owner[new], self.taken[new], self.owner[old] = self.owner[old], self.taken[old], None
        return n

    def _step(self, n: int) -> None:
        """One token for the first n rows; on a GPU the second call with the same n captures a graph."""
        for row in range(n):
            self.taken[row] += 1
        if not self.on_gpu:
            longest = self.cache.length[self.cache.source[:n]].max()
            steps = min(int(self.search.step[:n].max()) + 1, self.settings.max_new_tokens)
            self._advance(n, (int(longest), self.cache.width * steps))
        elif n not in self.graphs:
            self._advance(n)  # a real step, which also warms up what may not be captured
            self.graphs[n] = None
        else:
            if self.graphs[n] is None:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=self.pool):
                    self._advance(n)
                self.graphs[n], self.pool = graph, graph.pool()
            self.graphs[n].replay()

    def _advance(self, n: int, used: tuple[int, int] | None = None) -> None:
        step = self.search.step[:n].clamp(max=self.settings.max_new_tokens - 1)
        positions = self.cache.begin_step(step, used)
        tokens = self.search.tokens[:n]
        if self.fused is not None:
            logits = self.fused.step(tokens, positions, self.cache)
        else:  # any mask: the cache knows what is visible, and none is a prefill
            logits = self._forward(tokens, positions, self.cache.visible[:n, None])
        parents = self.search.advance(logits)
        if parents is not None:
            self.cache.reorder(parents)


def packs(lengths: list[int], most: int) -> Iterator[slice]:
    """Runs of neighbours that have at most that many tokens together; one that has more is alone."""
    start, tokens = 0, 0
    for at, length in enumerate(lengths):
        if at > start and tokens + length > most:
            yield slice(start, at)
            start, tokens = at, 0
        tokens += length
    if lengths:
        yield slice(start, len(lengths))


def decode(
    model: Model, prompts: list[Ids], settings: GenerationSettings, stop_ids: Ids, pad_id: int, on_finish: OnFinish
) -> list[list[Ids]]:
    """`engine.generate_ids` for an unwrapped model that `can_decode`; not yet cut at the stop token."""
    seeds = [[settings.seed, zlib.crc32(str(prompt).encode())] for prompt in prompts]
    longest = max(map(len, prompts)) - 1
    with inference(model):
        fused = fused_decoder(model, longest + settings.max_new_tokens + 1)
        at_once = prompts_that_fit(model, settings, longest, len(prompts))
        decoder = Decoder(model, settings, stop_ids, pad_id, at_once, longest, fused)
        try:
            return decoder.run(prompts, seeds, on_finish)
        finally:
            decoder.cache.layers.clear()  # they point back to the cache: its memory would wait for the collector
