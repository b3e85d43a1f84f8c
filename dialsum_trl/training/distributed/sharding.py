"""Whole tensors out of, and into, models that ZeRO or FSDP2 has split between processes.

Every function here is called by every rank, for the same parameters in the same order.
"""

from contextlib import contextmanager

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import distribute_tensor
from trl.models import unwrap_model_for_generation

from dialsum_trl.core.launcher import current


@contextmanager
def whole_model(trainer):
    """The trainer's model to generate or score with: meanwhile every process holds all weights.

    Processes decode different numbers of steps, not always through the whole model, so nothing may be gathered during
    them. Under FSDP2 all units are gathered first and stay gathered after their forward pass.
    """
    with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
        if not isinstance(model, FSDPModule):
            yield model
            return
        model._get_fsdp_state()._lazy_init()  # otherwise the first layer that runs becomes the root
        units = [module for module in model.modules() if isinstance(module, FSDPModule)]
        for unit in units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        try:
            yield model
        finally:
            for unit in units:
                unit.reshard()
            split = bool(trainer.accelerator.state.fsdp_plugin.reshard_after_forward)
            for unit in _follow_the_configuration(model, units):
                unit.set_reshard_after_forward(split, recurse=False)


def _follow_the_configuration(model, units: list) -> list:
    """Units that `fsdp_reshard_after_forward` holds for: accelerate leaves the root and the head's group whole."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and embedding.weight is head.weight
    kept = [model, head, *([embedding] if tied else [])]
    return [unit for unit in units if not any(unit is one for one in kept) and "Norm" not in type(unit).__name__]


def saved_name(parameter_name: str) -> str:
    """A trained parameter's name in an adapter file."""
    name = parameter_name.replace(".modules_to_save.default", "").replace(".default", "")
    return name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")  # of DoRA


def saved_shapes(model) -> dict[str, tuple[int, ...]]:
    """Name in the adapter file -> whole shape, of every tensor that trains in adapter "default" of a PEFT model."""
    zero3 = current().kind == "zero3"
    return {
        saved_name(name): tuple(parameter.ds_shape if zero3 else parameter.shape)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and ".default" in name
    }


def moment_source(optimizer):
    """torch's optimizer under accelerate's and DeepSpeed's wrappers: its `state` holds the moments."""
    inner = optimizer.optimizer
    return inner.optimizer if current().owns_precision else inner


def whole(parameter, moment: str | None = None, inner=None):
    """The float32 value of a trained parameter, or of one of its optimizer moments, on every rank (on the CPU).

    Args:
        moment: "exp_avg" or "exp_avg_sq"; None: the value itself.
        inner: `moment_source(optimizer)`, for moments.
    """
    if current().owns_precision:
        # optional, here and below: only a run of DeepSpeed's needs it
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        value = safe_get_full_optimizer_state(parameter, moment) if moment else safe_get_full_fp32_param(parameter)
    else:
        value = (inner.state[parameter][moment] if moment else parameter).full_tensor()
    return value.detach().float().cpu().clone()


def put(parameter, value, moment: str | None = None, inner=None) -> None:
    """Gives every rank its part of `value`; the counterpart of `whole`. Moments must exist (`make_moments`)."""
    kind = current().kind
    with torch.no_grad():
        if kind == "fsdp":
            target = inner.state[parameter][moment] if moment else parameter
            part = distribute_tensor(value.to(target.device, target.dtype), target.device_mesh, target.placements)
            target.copy_(part)
            return
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        value = value.float().to(parameter.device)
        if moment:
            safe_set_full_optimizer_state(parameter, value, moment)
            return
        safe_set_full_fp32_param(parameter, value)
        if kind == "zero3":
            import deepspeed

            with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                parameter.data.copy_(value)
        else:
            parameter.data.copy_(value)


def make_moments(optimizer, step, names) -> None:
    """Creates zero moments as the first step would, so that `put` can fill them.

    Args:
        optimizer: accelerate's wrapper.
        step: steps taken so far, a scalar tensor.
        names: of the moments.
    """
    inner, engine = moment_source(optimizer), optimizer.optimizer
    if current().kind == "zero3":
        flat = engine.fp32_partitioned_groups_flat
    elif current().owns_precision:
        flat = engine.single_partition_of_fp32_groups
    else:
        flat = [parameter for group in inner.param_groups for parameter in group["params"]]
    for part in flat:
        inner.state[part] = {"step": step.clone(), **{name: torch.zeros_like(part.detach()) for name in names}}
    if current().owns_precision and current().kind != "zero3":
        engine._lazy_init_hp_params_optimizer_state()  # its views of the moments; else made after the first step
