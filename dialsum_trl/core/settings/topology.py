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

    4-bit weights are split between processes only in a floating dtype: `bnb_4bit_quant_storage` is the model's under
    ZeRO-3, and float32 under FSDP (`training.distributed.four_bit` says why).

    Args:
        values: the merged settings (a namespace dict); may be changed.
        given: names that the user set.

    Raises:
        InputError: one line that names a configuration that can.
    """
    topology = current()
    cpu = bool(values.get("use_cpu")) or launched_on_cpu()
    if "MASTER_PORT" in os.environ and "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ:
        raise InputError(
            "several processes were requested and the launcher started one: use accelerate_configs/ddp.yaml (on CPUs "
            "with --use_cpu true after the recipe), or unset MASTER_PORT if one is what you want"
        )
    if not stage.trains:
        for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"):
            os.environ.pop(name, None)  # nothing is split: from here on as under ddp.yaml
        return
    if topology.owns_precision and not find_spec("deepspeed"):
        raise InputError(
            'DeepSpeed is not installed: pip install "dialsum-trl[deepspeed]", or use accelerate_configs/ddp.yaml'
        )
    if "log_on_each_node" not in given:
        values["log_on_each_node"] = False  # one process prints, not one per machine
    if topology.owns_precision and launched_on_cpu():
        raise InputError(
            "ACCELERATE_USE_CPU would switch DeepSpeed off without a word: unset it and put --use_cpu true after the "
            "recipe, or use accelerate_configs/cpu.yaml"
        )
    if topology.kind == "fsdp" and cpu:
        raise InputError(
            "FSDP needs GPUs (accelerate would run plain data parallel on CPUs): use accelerate_configs/ddp.yaml or "
            "deepspeed_zero3.yaml"
        )
    if stage.replicated and topology.kind not in ("single", "ddp"):
        raise InputError(
            f"{stage.name} holds policy, reference, critic and reward on one base and cannot run under "
            f"{topology.kind}: use accelerate_configs/ddp.yaml"
        )
    quantization = values.get("quantization", "none")
    if topology.shards_weights and quantization == "8bit":
        raise InputError(
            f"8-bit weights cannot be split between processes ({topology.kind}): use accelerate_configs/ddp.yaml, or "
            f"--quantization 4bit"
        )
    if topology.shards_weights and quantization == "4bit":
        storage = "float32" if topology.kind == "fsdp" else values["dtype"]
        if "bnb_4bit_quant_storage" in given and values["bnb_4bit_quant_storage"] != storage:
            raise InputError(
                f"--bnb_4bit_quant_storage {values['bnb_4bit_quant_storage']} under {topology.kind}: 4-bit weights are "
                f"split between processes in {storage} only: leave the flag out, or use accelerate_configs/ddp.yaml"
            )
        values["bnb_4bit_quant_storage"] = storage
    if topology.kind not in ("single", "ddp") and "optim" in values:
        if "optim" in given and str(values["optim"]) not in TORCH_ADAMW:
            raise InputError(
                f"--optim {values['optim']} under {topology.kind}: the optimizer's state is split and gathered in "
                f"torch's form: leave --optim out (adamw_torch), or use accelerate_configs/ddp.yaml"
            )
        values["optim"] = values["optim"] if "optim" in given else "adamw_torch"


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
