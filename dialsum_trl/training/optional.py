"""Settings that need an optional package or an argument: asked of transformers before a model is loaded."""

import importlib.util
from copy import copy, deepcopy

import torch
from transformers import SchedulerType, Trainer, TrainingArguments, get_scheduler
from transformers.utils import is_liger_kernel_available

from dialsum_trl.core.errors import InputError

A_MODEL_IS_MISSING = "You need to pass a"  # what transformers says where an optimizer wants to see the model's layers


def check_optional(args: TrainingArguments) -> None:
    """Raises InputError where a package or an argument of the optimizer, the scheduler or the kernels is missing.

    And where the one that is chosen reads none of the arguments that are given: transformers passes over them.
    """
    if args.use_liger_kernel and not is_liger_kernel_available():
        raise InputError("--use_liger_kernel true: is not installed; pip install liger-kernel, or leave it out")
    given = args.optim_args or ""
    if given and not all("=" in each for each in given.split(",")):
        raise InputError(f"--optim_args {given}: give name=value, several with commas between them")
    (without := copy(args)).optim_args = None
    try:
        unread = Trainer.get_optimizer_cls_and_kwargs(args) == Trainer.get_optimizer_cls_and_kwargs(without)
    except (ImportError, ValueError, NotImplementedError, TypeError) as error:
        if not str(error).startswith(A_MODEL_IS_MISSING):
            raise InputError(
                f"--optim {args.optim.value}: {str(error).rstrip('.')}; or give another --optim"
            ) from error
    else:
        if given and unread:
            raise InputError(
                f"--optim_args {given}: has no effect with --optim {args.optim.value}: leave it out, or give "
                f"--weight_decay, --adam_beta1, --adam_beta2 or --adam_epsilon"
            )
    _check_scheduler(args)


def check_engine(use_vllm: bool) -> None:
    """Raises InputError where rollouts are to be sampled by a vLLM that is not here."""
    if use_vllm and importlib.util.find_spec("vllm") is None:
        raise InputError("--use_vllm true: is not installed; pip install vllm, or leave it out")


def _check_scheduler(args: TrainingArguments) -> None:
    """The scheduler is made once, for one weight and a hundred steps."""
    name, kwargs = args.lr_scheduler_type, args.lr_scheduler_kwargs
    if kwargs and name in (SchedulerType.CONSTANT, SchedulerType.CONSTANT_WITH_WARMUP):
        raise InputError(
            f"--lr_scheduler_kwargs {kwargs}: has no effect with --lr_scheduler_type {name.value}; leave it out"
        )
    try:
        get_scheduler(
            name,
            torch.optim.SGD([torch.zeros(1)], lr=1.0),
            num_warmup_steps=10,
            num_training_steps=100,
            scheduler_specific_kwargs=deepcopy(kwargs) or {},
        )
    except (TypeError, ValueError, ImportError) as error:
        reason = str(error).rstrip(".")
        raise InputError(
            f"--lr_scheduler_type {name.value}: {reason}; give its arguments as "
            f"--lr_scheduler_kwargs '{{\"name\": value}}'"
        ) from error
