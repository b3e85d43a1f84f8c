"""Mixed precision follows the dtype; is there a device to train on."""

import torch

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.launcher import current, launched_on_cpu
from dialsum_trl.models.devices import dtype_here, own_dtype

BASE = ("model_name_or_path", "model_revision", "trust_remote_code")
QUANTIZED = ("cuda", "xpu", "hpu")  # devices with bitsandbytes' quantized training; Apple's are not tried


def match_precision(values: dict, given: set[str]) -> None:
    """Makes the trainer's mixed precision follow `dtype`, and refuses to start where nothing could train.

    Raises:
        InputError: `--bf16`/`--fp16` contradict `--dtype`, or there is no GPU and `--use_cpu` was not given; 4 bits on
            a device that bitsandbytes does not train on.
    """
    if values["dtype"] == "auto":
        values["dtype"] = own_dtype(*(values[name] for name in BASE))
        given = given - {"dtype"}
    cpu = values["use_cpu"] or launched_on_cpu()
    if not cpu:
        values["dtype"] = dtype_here(values["dtype"], "dtype" in given)
    wanted = {"bfloat16": (True, False), "float16": (False, True), "float32": (False, False)}[values["dtype"]]
    for name, value in zip(("bf16", "fp16"), wanted, strict=True):
        if name in given and bool(values[name]) != value:
            raise InputError(
                f"--{name} {str(values[name]).lower()} does not match --dtype {values['dtype']}: leave --{name} out, "
                f"mixed precision follows --dtype"
            )
        values[name] = value
    if not cpu and not torch.accelerator.is_available():
        raise InputError(
            "no GPU found: run on a machine with one, or try the offline toy with --config recipes/demo.yaml "
            "(--use_cpu true trains the real model on the CPU, which takes weeks)"
        )
    if not cpu and values.get("quantization", "none") != "none" and not torch.cuda.is_available():
        kind = torch.accelerator.current_accelerator().type
        if kind not in QUANTIZED:
            raise InputError(
                f"--quantization {values['quantization']}: bitsandbytes trains on NVIDIA, AMD and Intel GPUs, and this "
                f"is {kind}: give --quantization none (2 bytes per parameter), or --use_cpu true"
            )
    if cpu:
        values["use_cpu"] = True
        if "optim" not in given and str(values["optim"]).startswith("paged"):
            values["optim"] = "adamw_torch"  # paged optimizers need CUDA's unified memory


def trained_dtype(model_dtype: str) -> str:
    """The dtype of what is trained: float32 masters, or the model's own where DeepSpeed keeps the masters."""
    return model_dtype if current().owns_precision else "float32"
