"""What the launcher's configuration can run, checked before anything is downloaded."""

import os
from importlib.util import find_spec

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.launcher import current, launched_on_cpu
from dialsum_trl.core.settings.stage import Stage

TORCH_ADAMW = ("adamw_torch", "OptimizerNames.ADAMW_TORCH")


def fit_topology(stage: Stage, values: dict, given: set[str]) -> None:
    """Refuses what the launcher's configuration cannot run, and sets what it needs.

    A stage that trains nothing splits nothing: accelerate's variables for DeepSpeed and FSDP are removed from this
    process' environment, and it runs as under ddp.yaml.
    """
    if "MASTER_PORT" in os.environ and "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ:
        raise InputError(
            "several processes were requested and the launcher started one: use accelerate_configs/ddp.yaml (on CPUs "
            "with --use_cpu true after the recipe), or unset MASTER_PORT if one is what you want"
        )
    if not stage.trains:
        for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"):
            os.environ.pop(name, None)
        return
    topology = current()
    kind, replicates = topology.kind, topology.kind in ("single", "ddp")
    refusals = (
        (
            topology.owns_precision and not find_spec("deepspeed"),
            'DeepSpeed is not installed: pip install "dialsum-trl[deepspeed]", or use accelerate_configs/ddp.yaml',
        ),
        (
            topology.owns_precision and launched_on_cpu(),
            "ACCELERATE_USE_CPU would switch DeepSpeed off without a word: unset it and put --use_cpu true after the "
            "recipe, or use accelerate_configs/cpu.yaml",
        ),
        (
            kind == "fsdp" and (bool(values.get("use_cpu")) or launched_on_cpu()),
            "FSDP needs GPUs (accelerate would run plain data parallel on CPUs): use accelerate_configs/ddp.yaml or "
            "deepspeed_zero3.yaml",
        ),
        (
            stage.replicated and not replicates,
            f"{stage.name} holds policy, reference, critic and reward on one base and cannot run under {kind}: use "
            "accelerate_configs/ddp.yaml",
        ),
        (
            topology.shards_weights and values.get("quantization") == "8bit",
            f"8-bit weights cannot be split between processes ({kind}): use accelerate_configs/ddp.yaml, or "
            "--quantization 4bit",
        ),
    )
    for refused, why in refusals:
        if refused:
            raise InputError(why)
    if "log_on_each_node" not in given:
        values["log_on_each_node"] = False  # one process prints, not one per machine
    if topology.shards_weights and values.get("quantization") == "4bit":
        # split only in a floating dtype: `training.distributed.four_bit` says why it is float32 under FSDP
        _require(values, given, "bnb_4bit_quant_storage", "float32" if kind == "fsdp" else values["dtype"], kind)
    if not replicates and "optim" in values and str(values["optim"]) not in TORCH_ADAMW:
        _require(values, given, "optim", "adamw_torch", kind)


def _require(values: dict, given: set[str], name: str, needed: str, kind: str) -> None:
    """Sets what a configuration that splits tensors needs, unless the user gave something else."""
    if name in given and values[name] != needed:
        raise InputError(
            f"--{name} {values[name]} under {kind}: what is split needs {needed}: leave --{name} out, "
            f"or use accelerate_configs/ddp.yaml"
        )
    values[name] = needed


def use_one_gpu(args) -> None:
    """Has a trainer's arguments of a single process use its first GPU, however many it sees.

    The trainer would wrap the model in `nn.DataParallel`, which TRL refuses. CUDA_VISIBLE_DEVICES comes too late: the
    driver is already initialized when the arguments check for a GPU.
    """
    if args.n_gpu > 1:
        say(
            f"the first of {args.n_gpu} GPUs is used; all of them: accelerate launch --config_file "
            f"accelerate_configs/ddp.yaml recipes/..."
        )
        args._n_gpu = 1
