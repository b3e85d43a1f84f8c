"""The fast path of SFT: packs, document attention, fused layers, and the plan that fits them into memory.

`prepare` is called with the loaded model and the encoded rows, before the trainer is built; it sets the batch arguments
and returns what the trainer needs. The effective batch stays what the arguments said: see `packing`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from accelerate.utils import gather_object
from peft import PeftModel

from dialsum_trl.core.cards import CONTEXT_GIB
from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.launcher import current
from dialsum_trl.kernels.attention import register
from dialsum_trl.kernels.fused.attach import attach, check, compile_errors, detach, known, why_not_fused
from dialsum_trl.kernels.mixers import separate_documents
from dialsum_trl.training.packing.packs import PackCollator
from dialsum_trl.training.plan import memory
from dialsum_trl.training.plan.schedule import MULTIPLE, Schedule

CPU_BUDGET_GIB = 8.0
TOLERANCE = 0.05  # of a fused layer's output and gradients to the plain layer's, in half precision


@dataclass
class FastPath:
    """What `prepare` decided: the trainer's collator and schedule; `fused` says whether the layers are."""

    collator: PackCollator
    schedule: Schedule
    fused: bool
    plan: memory.Plan | None  # of the fused layers


def prepare(
    model, args, lengths: list[int], pad_id: int, quantization: str, memory_gib: float | None
) -> tuple[FastPath | None, str]:
    """Chooses and prints the plan, fuses the model's layers, and sets the batch arguments of `args` to match.

    Args:
        model: causal LM, PEFT-wrapped or not, on its device. Its layers change in place.
        args: the trainer's arguments; rows per device x accumulation x processes is the effective batch to keep.
        lengths: tokens of each training row.
        pad_id: token that fills the end of a pack.
        quantization: "4bit", "8bit" or "none": how the base is stored.
        memory_gib: limit on GPU memory; None: what the GPU has free.

    Returns:
        What was prepared, None if documents cannot share a row in this model, or with its noise: it trains padded, as
        TRL does. And in words how rows are trained on, with the reason where layers are not fused.

    Raises:
        InputError: the longest row alone does not fit the budget.
    """
    separate_documents(model)
    if reason := why_not_packed(model, args, max(lengths)):
        return None, f"padded: {reason}"

    rows_per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    seed = args.seed if args.data_seed is None else args.data_seed
    epochs = args.num_train_epochs
    if args.max_steps > 0:
        epochs = args.max_steps / math.ceil(len(lengths) / rows_per_step)
    model.set_attn_implementation(register())

    def schedule(micro_batches: int) -> Schedule:
        return Schedule(lengths, rows_per_step, micro_batches * args.world_size, args.world_size, seed)

    @cache
    def largest(micro_batches: int) -> int:
        return schedule(micro_batches).largest(max(1, math.ceil(epochs)))

    on_gpu, plan, shape, budget = args.device.type == "cuda", None, None, None
    if isinstance(model, PeftModel) and known(model):
        rank, budget = model.peft_config[model.active_adapter].r, budget_gib(args, memory_gib)
        shape = memory.Shape.of(model.get_base_model().config, rank, quantization)
    reason = why_not_fused(model)
    if current().shards_weights:
        reason = f"{current().kind} splits the weights between processes"
    if reason is None:
        plan = _plan(shape, largest, rows_per_step // args.world_size, budget)
        if memory_gib and on_gpu:
            limit_gpu(budget)
        reason = why_not_verified(attach(model, list(plan.keep), plan.resident))
    if reason is None:
        _follow(args, plan, max(lengths))
        micro_batches = plan.micro_batches
    else:
        plan, micro_batches = None, args.gradient_accumulation_steps
        if on_gpu and args.gradient_checkpointing and shape:  # each micro-batch costs the host the same launches
            tokens = memory.plain_tokens(shape, budget)
            micro_batches = next((n for n in range(1, micro_batches) if largest(n) <= tokens), micro_batches)
    args.gradient_accumulation_steps = micro_batches
    if on_gpu:  # a blocking copy would wait for the device to finish the previous step
        args.accelerator_config.non_blocking = True
    # only reported by the trainer; the schedule distributes the rows
    args.per_device_train_batch_size = -(-rows_per_step // (micro_batches * args.world_size))
    path = FastPath(PackCollator(pad_id), schedule(micro_batches), plan is not None, plan)
    return path, f"packed, plain layers: {reason}" if reason else "packed, fused layers"


def _follow(args, plan: memory.Plan, longest: int) -> None:
    """Sets what the plan of fused layers decides in the trainer's arguments."""
    args.gradient_checkpointing = args.activation_checkpointing = False  # the layers recompute what the plan says
    args.per_device_eval_batch_size = max(1, plan.tokens // longest)
    if args.optim == "paged_adamw_32bit" and args.device.type == "cuda":
        args.optim = "adamw_torch_fused"  # the same arithmetic in one launch; the plan has counted its moments


def why_not_packed(model, args, longest: int) -> str | None:
    """Why documents of up to `longest` tokens cannot share rows in this run, as one clause; or None."""
    if reason := noise_problem(args) or dropout_problem(model):
        return reason
    text = model.config.get_text_config()
    if known(model) and text is model.config:
        return positions_problem(text.to_dict(), longest)
    return packable(model, longest)


def noise_problem(args) -> str | None:
    """Why packs would get other noise than `--neftune_noise_alpha` means, as one clause; or None."""
    if not args.neftune_noise_alpha:
        return None
    return "transformers scales the noise of --neftune_noise_alpha by a row's length, and a pack is many rows long"


def dropout_problem(model) -> str | None:
    """Why attention over packs would drop nothing where the model's own does, as one clause; or None."""
    config = model.config.get_text_config().to_dict()
    shares = [config.get(name) or 0 for name in ("attention_dropout", "attn_pdrop")]
    return "its attention has dropout, which attention over packs has not" if any(shares) else None


def why_not_verified(layers: list) -> str | None:
    """Tries the first fused layer; if it fails in any process, restores all plain ones and returns why, as a clause."""
    started, reason = time.time(), None
    try:
        error = check(layers)
    except compile_errors() as failure:
        reason = f"its kernels do not run here ({type(failure).__name__}: {str(failure).strip().splitlines()[0][:160]})"
    else:
        if not error <= TOLERANCE:
            reason = f"a fused layer differs from the plain one by {error:.3f}; please report it"
    reason = next((found for found in gather_object([reason]) if found), None)  # all processes do the same
    if reason:
        detach(layers)
    else:
        say(f"Fused layers agree with the plain ones to {error:.1e}; kernels compiled in {time.time() - started:.1f} s")
    return reason


def budget_gib(args, memory_gib: float | None = None) -> float:
    """GiB that every process may allocate: what is free, and of `memory_gib` what CUDA's context leaves."""
    budget = memory_gib or CPU_BUDGET_GIB
    if args.device.type == "cuda":
        there = free_gib() + torch.cuda.memory_reserved() / memory.GIB
        budget = min(there, memory_gib - CONTEXT_GIB) if memory_gib else there
    return min(gather_object([budget]))  # processes that plan differently would wait for one another forever


def _plan(shape: memory.Shape, largest: Callable[[int], int], rows: int, budget: float) -> memory.Plan:
    """The plan for the `rows` of a process per step, printed; raises InputError when none fits the budget, GiB."""
    choices = memory.choices(rows)
    chosen = memory.plan(shape, largest, choices, budget)
    if chosen is None:
        raise InputError(
            f"--memory_gib {budget:.1f}: even one row at a time ({largest(choices[-1])} tokens) does not fit; this "
            f"model needs about {shape.fixed(False) / memory.GIB + 1:.1f} GiB. Use a smaller model or a shorter "
            f"--max_length"
        )
    say(chosen.line())
    return chosen


def positions_problem(config: dict, longest: int) -> str | None:
    """Why positions in a pack of documents of up to `longest` tokens would depend on one another, as one clause."""
    if config.get("alibi") or config["model_type"] in ("bloom", "mpt"):
        return "its positions are biases that count from the start of the row (ALiBi)"
    ropes = config.get("rope_parameters") or {}
    for rope in (ropes, *(part for part in ropes.values() if isinstance(part, dict))):
        limit = rope.get("original_max_position_embeddings") or config.get("max_position_embeddings")
        if rope.get("rope_type") in ("longrope", "dynamic") and longest > limit:
            return f"its rotation is another one for all documents of a row where one is longer than {limit} tokens"
    return None


@torch.no_grad()
def packable(model, longest: int) -> str | None:
    """Why documents of up to `longest` tokens in a row would affect one another in this model, as one clause; or None.

    Tried on the model itself: a document between two others must have the logits that it has alone, and those of the
    others must stay bit for bit when it changes. This finds recurrent layers, attention sinks, experts that are chosen
    together and other kinds of positions.
    """
    config = model.config.get_text_config().to_dict()
    if reason := positions_problem(config, longest):
        return reason
    draw = torch.Generator().manual_seed(0)
    sizes = (24, 40, 17)  # tokens of the documents in a pack, which fits into one multiple
    first, middle, last, other = (
        torch.randint(config["vocab_size"] // 2, (size,), generator=draw).tolist() for size in (*sizes, sizes[1])
    )
    device, training = model.device, model.training
    model.eval()
    usual = model.config._attn_implementation

    def packed(*documents):
        pack = PackCollator(0)([{"input_ids": ids, "labels": ids} for ids in documents])
        del pack["labels"]
        moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in pack.items()}
        return model(**moved, use_cache=False).logits[0].split([*sizes, MULTIPLE - sum(sizes)])[:3]

    try:
        alone = model(input_ids=torch.tensor([middle], device=device), use_cache=False).logits[0]
        model.set_attn_implementation(register())
        before, after = packed(first, middle, last), packed(first, other, last)
    except (TypeError, ValueError) as error:
        return f"its layers do not take documents in one row ({str(error).splitlines()[0][:100]})"
    finally:
        model.set_attn_implementation(usual)
        model.train(training)
    difference = ((before[1] - alone).float().norm() / alone.float().norm()).item()
    limit = 1e-3 if alone.dtype == torch.float32 and model.dtype == torch.float32 else 0.03
    if not difference <= limit:
        return f"documents in one row see one another (logits differ by {difference:.1e})"
    if not (torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])):
        return "a document's logits change when another one of its row does"
    return None


def free_gib() -> float:
    """Memory of this process' GPU that is free, GiB, or 0 without a GPU."""
    return torch.cuda.mem_get_info()[0] / memory.GIB if torch.cuda.is_available() else 0.0


def limit_gpu(budget_gib: float) -> None:
    """Makes the allocator respect the budget: it frees its cache before it grows beyond it."""
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / memory.GIB
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget_gib / total))
