"""What runs under what: the launcher's configuration, checked before anything is downloaded.

`accelerate launch --config_file accelerate_configs/X.yaml` speaks to its processes through environment variables. Read
here, they tell which stages, quantizations and devices that configuration can carry, and where the base is placed.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec

from dialsum_trl.errors import InputError

# Stages whose trainer synchronizes its own gradients: every process needs the whole model and its own optimizer.
REPLICATED_ONLY = ("ppo",)
TORCH_ADAMW = ("adamw_torch", "OptimizerNames.ADAMW_TORCH")
# Stages that train nothing: every process holds the whole model and takes its share of the rows.
INFERENCE = ("predict", "ensemble", "preferences", "decoding_sweep", "postprocess", "report")


@dataclass(frozen=True)
class Topology:
    """How this run is spread: `kind` is "single", "ddp", "zero1", "zero2", "zero3" or "fsdp"."""

    kind: str
    processes: int

    @property
    def shards_weights(self) -> bool:
        """Whether no process holds the whole base model while it trains."""
        return self.kind in ("zero3", "fsdp")

    @property
    def owns_precision(self) -> bool:
        """Whether the launcher's engine keeps the float32 masters of what is trained (DeepSpeed)."""
        return self.kind.startswith("zero")


def _set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true", "yes")


def launched_on_cpu() -> bool:
    """Whether the launcher's configuration has no GPU, as `accelerate_configs/cpu.yaml`."""
    return _set("ACCELERATE_USE_CPU")


def current() -> Topology:
    """The topology that the launcher's environment variables describe."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if _set("ACCELERATE_USE_DEEPSPEED"):
        return Topology(f"zero{os.environ.get('ACCELERATE_DEEPSPEED_ZERO_STAGE', '2')}", processes)
    if _set("ACCELERATE_USE_FSDP"):
        return Topology("fsdp", processes)
    return Topology("ddp" if processes > 1 else "single", processes)


def fit_topology(stage: str, values: dict, given: set[str]) -> None:
    """Refuses what the launcher's configuration cannot run, and sets what it needs.

    4-bit weights are split between processes only in a floating dtype: `bnb_4bit_quant_storage` is the model's under
    ZeRO-3, and float32 under FSDP (`scale.four_bit` says why).

    Args:
        stage: one of `settings_file.STAGES`.
        values: the merged settings (a namespace dict); may be changed.
        given: names that the user set.

    Raises:
        InputError: one line that names a configuration that can.
    """
    topology = current()
    cpu = bool(values.get("use_cpu")) or launched_on_cpu()
    if "MASTER_PORT" in os.environ and "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ:
        raise InputError(
            "several processes were asked for and the launcher started one: use accelerate_configs/ddp.yaml (on CPUs "
            "with --use_cpu true behind the recipe), or unset MASTER_PORT if one is what you want"
        )
    if stage in INFERENCE:
        for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"):
            os.environ.pop(name, None)  # nothing is split: from here on as under ddp.yaml
        return
    if topology.owns_precision and not find_spec("deepspeed"):
        raise InputError(
            'DeepSpeed is not installed: pip install "dialsum-trl[deepspeed]", or use accelerate_configs/ddp.yaml'
        )
    if "log_on_each_node" not in given:
        values["log_on_each_node"] = False  # one process prints, not one a machine
    if topology.owns_precision and launched_on_cpu():
        raise InputError(
            "ACCELERATE_USE_CPU would switch DeepSpeed off without a word: unset it and put --use_cpu true behind the "
            "recipe, or use accelerate_configs/cpu.yaml"
        )
    if topology.kind == "fsdp" and cpu:
        raise InputError(
            "FSDP needs GPUs (accelerate would run plain data parallel on CPUs): use accelerate_configs/ddp.yaml or "
            "deepspeed_zero3.yaml"
        )
    if stage in REPLICATED_ONLY and topology.kind not in ("single", "ddp"):
        raise InputError(
            f"{stage} holds policy, reference, critic and reward on one base and cannot run under {topology.kind}: use "
            f"accelerate_configs/ddp.yaml"
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
    driver is started when the arguments ask whether there is a GPU.
    """
    from dialsum_trl.console import say

    if args.n_gpu > 1:
        say(
            f"the first of {args.n_gpu} GPUs is used; all of them: accelerate launch --config_file "
            f"accelerate_configs/ddp.yaml recipes/..."
        )
        args._n_gpu = 1


def device_map(device, quantization: str) -> dict | None:
    """Where `from_pretrained` puts the base: whole on this process' device, or where the engine wants it.

    ZeRO-3 refuses a device map (it splits the weights while they load); FSDP moves an unquantized base from the host to
    the device one layer at a time.
    """
    kind = current().kind
    if device is None or kind == "zero3" or (kind == "fsdp" and quantization == "none"):
        return None
    return {"": device}


def trained_dtype(model_dtype: str) -> str:
    """The dtype of what is trained: float32 masters, or the model's own where DeepSpeed keeps the masters."""
    return model_dtype if current().owns_precision else "float32"


def once(build):
    """`build()` on the first process of the run, its result on all of them (it is pickled)."""
    topology = current()
    if topology.processes == 1:
        return build()
    from accelerate.utils import broadcast_object_list

    from dialsum_trl.console import is_main_process

    return broadcast_object_list([build() if is_main_process() else None])[0]
