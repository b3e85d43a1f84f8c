"""What went wrong in an optimizer step whose numbers are not finite: where, in which dtype, and with which rows."""

import math
from itertools import pairwise

import torch
from accelerate.utils import gather_object

from dialsum_trl.models.devices import wide_dtype
from dialsum_trl.models.overflow import first_overflow

NAMED = 8  # rows an error lists


def dtype_of(trainer) -> str:
    """The dtype that a trainer computes in."""
    return "fp16" if trainer.args.fp16 else "bf16" if trainer.args.bf16 else "fp32"


def not_finite(trainer, batches: list, losses: list[float], norm: float) -> str:
    """The sentence for a step with a loss or a gradient norm that is not finite.

    Args:
        trainer: a `checked.CheckedTrainer` in that step.
        batches: this process' micro-batches.
        losses: of these.
        norm: the gradient norm of all processes.
    """
    dtype = dtype_of(trainer)
    bad = [index for index, loss in enumerate(losses) if not math.isfinite(loss)]
    found = {
        "loss": losses[bad[0]] if bad else None,
        "rows": [name for index in bad or range(len(batches)) for name in rows_of(trainer, batches[index])],
        "weights": _broken_weights(trainer.model),
    }
    # the norm is the same on all processes: all are here, but with fp16, where those with finite losses skip the step
    if not math.isfinite(norm) and trainer.args.world_size > 1 and not trainer.args.fp16:
        everywhere = gather_object([found])
        guilty = [each for each in everywhere if each["loss"] is not None] or everywhere
        found = {**guilty[0], "rows": [name for each in guilty for name in each["rows"]]}
    loss, rows = found["loss"], found["rows"]
    what = f"loss {loss}" if loss is not None else f"gradient norm {norm}"
    where = f"rows {', '.join(rows[:NAMED])}" + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")
    if found["weights"]:
        return (
            f"{what} in {dtype} is not finite, and neither is {found['weights']}: earlier steps were too large; "
            f"lower --learning_rate."
        )
    if trainer.args.fp16 and loss is None:
        return (
            f"{what}: fp16 overflow {trainer.numbers.overflows + 1} times in a row, a smaller loss scale does not help "
            f"({where}); use --dtype {wide_dtype()}."
        )
    if trainer.args.fp16:
        layer = _layer(trainer, batches[bad[0]])
        return f"{what} in fp16 is not finite: {layer} overflowed ({where}); use --dtype {wide_dtype()}."
    return f"{what} in {dtype} is not finite ({where}); look at these rows, or lower --learning_rate."


def not_finite_there(trainer, loss: float) -> str:
    """The sentence for an evaluation whose loss is not finite; with one process it names the first batch at fault."""
    if weights := _broken_weights(trainer.model):
        return f"loss {loss} in {dtype_of(trainer)} is not finite, and neither is {weights}; lower --learning_rate."
    where, size = "the evaluation rows", trainer.args.eval_batch_size
    for index, batch in enumerate(trainer.get_eval_dataloader() if trainer.args.world_size == 1 else ()):
        found, _, _ = trainer.prediction_step(trainer.model, batch, prediction_loss_only=True)
        if found is not None and not math.isfinite(found.mean()):
            where = f"evaluation row {index * size + 1}" + (f" and the {size - 1} after it" if size > 1 else "")
            break
    remedy = (
        f"use --dtype {wide_dtype()}" if trainer.args.fp16 else "without such rows the best checkpoint can be chosen"
    )
    return f"loss {loss} in {dtype_of(trainer)} is not finite: look at {where}; {remedy}."


def _layer(trainer, batch) -> str:
    """What overflowed in a micro-batch of this process; split weights would need all processes to say."""
    if isinstance(batch, list) or trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        return "an activation"
    with trainer.accelerator.autocast():
        return first_overflow(trainer.model, batch)


def _broken_weights(model) -> str | None:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            return name.removeprefix("base_model.model.")
    return None


def rows_of(trainer, batch) -> list[str]:
    """Names of the training rows in a batch, found by their token ids (or prompts) in the training data."""
    names = trainer.run_info.row_names or [f"number {index + 1}" for index in range(len(trainer.train_dataset))]
    keys = {}
    for name, row in zip(names, trainer.train_dataset, strict=True):
        for key in _keys(row):
            keys.setdefault(key, name)
    found = [keys[key] for key in _batch_keys(batch) if key in keys]
    return list(dict.fromkeys(found))


def _keys(row: dict) -> list:
    """What a training row looks like in a batch: one or several id lists, or the text of its prompt."""
    if "input_ids" in row:
        return [tuple(row["input_ids"])]
    if "chosen_ids" in row:
        prompt = tuple(row.get("prompt_ids", ()))
        return [prompt + tuple(row[side]) for side in ("chosen_ids", "rejected_ids")]
    return [str(row["prompt"])]


def _batch_keys(batch) -> list:
    if isinstance(batch, list):  # online: the rows themselves
        return [str(row["prompt"]) for row in batch]
    ids = batch["input_ids"].tolist()
    if "cu_seq_lens_q" in batch:
        edges = batch["cu_seq_lens_q"].tolist()
        return [tuple(ids[0][start:end]) for start, end in pairwise(edges)]
    return [
        tuple(token for token, kept in zip(row, mask, strict=True) if kept)
        for row, mask in zip(ids, batch["attention_mask"].tolist(), strict=True)
    ]
