"""The layer whose activations leave the range of the dtype, which in float16 ends at 65504."""

from contextlib import ExitStack

import torch
from peft import PeftModel
from transformers import PreTrainedModel

INPUTS = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "max_length_q",
    "max_length_k",
)


class _Overflow(Exception):
    """Ends the forward pass at the module that it names."""


def first_overflow(model: PreTrainedModel | PeftModel, batch: dict) -> str:
    """Name of the first module whose output is not finite, "the output layer" where all those before it are.

    It runs the model once more, without its head. Fused layers are one module each.

    Args:
        batch: as the model was given it; those of `INPUTS` that it has count.
    """
    backbone = (model.get_base_model() if isinstance(model, PeftModel) else model).base_model
    inputs = {key: batch[key] for key in INPUTS if key in batch}
    inputs = {key: x.to(model.device) if torch.is_tensor(x) else x for key, x in inputs.items()}
    with ExitStack() as hooks, torch.no_grad():
        for name, module in backbone.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(_checks(name.removesuffix(".base_layer"))).remove)
        try:
            backbone(**inputs, use_cache=False)
        except _Overflow as found:
            return str(found)
    return "the output layer"


def _checks(name: str):
    def hook(module, inputs, output):
        for each in output if isinstance(output, tuple) else [output]:
            if torch.is_tensor(each) and each.is_floating_point() and not torch.isfinite(each).all():
                raise _Overflow(name)

    return hook
