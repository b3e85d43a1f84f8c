"""Checkpoints that can be resumed with any number of processes.

DeepSpeed and FSDP save optimizer states as each rank's pieces, which load on the same number of ranks only. What a LoRA
run trains is small, so it is gathered instead: the adapter's float32 masters and the optimizer's moments are written as
one process would write them (`adapter_model.safetensors`, and `optimizer.pt` in the form of torch's AdamW).
"""

from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.training.distributed.sharding import make_moments, moment_source, put, saved_name, whole

OPTIMIZER_FILE, SCHEDULER_FILE, ADAPTER_FILE = "optimizer.pt", "scheduler.pt", "adapter_model.safetensors"
WRAPPED = "__bnb_optimizer_quant_state__"  # bitsandbytes keeps its tensors in a dict that FSDP does not see
MOMENTS = {"exp_avg": "state1", "exp_avg_sq": "state2"}  # torch's name -> bitsandbytes'


def read_moments(checkpoint: str | Path, form: str = "torch") -> dict:
    """`optimizer.pt` with the names of torch's AdamW ("torch") or of bitsandbytes' ("bitsandbytes")."""
    saved = _tensors(checkpoint, OPTIMIZER_FILE)
    names = {theirs: ours for ours, theirs in MOMENTS.items()} if form == "torch" else MOMENTS
    for state in saved["state"].values():
        state |= state.pop(WRAPPED, {})
        for name in [name for name in state if name in names]:
            state[names[name]] = state.pop(name)
        state["step"] = torch.tensor(float(state["step"])) if form == "torch" else int(state["step"])
    return saved


def of_another_kind(checkpoint: str | Path, fused: bool) -> bool:
    """Whether `optimizer.pt` is bitsandbytes' (32 bit), or torch's with the other of its two kernels than `fused`."""
    if not (Path(checkpoint) / OPTIMIZER_FILE).exists():
        return False  # DeepSpeed and FSDP without LoRA have folders
    saved = _tensors(checkpoint, OPTIMIZER_FILE, mmap=True)
    theirs = any(MOMENTS["exp_avg"] in each.get(WRAPPED, each) for each in saved["state"].values())
    return theirs or any(bool(group.get("fused")) != fused for group in saved["param_groups"])


def for_groups(scheduler: dict, count: int) -> dict:
    """A scheduler's state for `count` parameter groups of one learning rate (DeepSpeed drops groups that are empty)."""
    return {key: value[:1] * count if isinstance(value, list) else value for key, value in scheduler.items()}


class Portable:
    """What one process would save is saved everywhere, and either loads anywhere.

    Of LoRA runs, ZeRO and FSDP gather what is trained. AdamW's moments load into torch's optimizer or bitsandbytes',
    whichever of them wrote them.

    Args:
        trainer: a `checked.CheckedTrainer`.
    """

    def __init__(self, trainer):
        self.trainer = trainer

    def _split(self) -> bool:
        return self.trainer.is_deepspeed_enabled or self.trainer.is_fsdp_enabled

    def gathers(self) -> bool:
        """Whether the trained tensors are split between processes and small enough to be gathered."""
        return self._split() and isinstance(self.trainer.model, PeftModel)

    def _trained(self) -> dict:
        """Trained parameters by name in the order of one process' optimizer: those with weight decay first."""
        model = self.trainer.model
        decay = set(self.trainer.get_decay_parameter_names(model))
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        return dict([pair for pair in named if pair[0] in decay] + [pair for pair in named if pair[0] not in decay])

    def state(self) -> dict | None:
        """The trained tensors, whole, where they have to be gathered to be saved."""
        trainer = self.trainer
        if not self.gathers() or (trainer.is_deepspeed_enabled and trainer.model_wrapped is trainer.model):
            return None
        return {name: whole(parameter) for name, parameter in self._trained().items()}

    def put_adapter(self, checkpoint: str | Path) -> None:
        """Loads a saved adapter into the split model."""
        values = load_file(Path(checkpoint) / ADAPTER_FILE)
        for name, parameter in self._trained().items():
            if saved_name(name) not in values:
                raise TrainingError(f"{checkpoint}: its adapter lacks {saved_name(name)}; it belongs to another run")
            put(parameter, values[saved_name(name)])

    def save_optimizer(self, folder: str | Path, usual: Callable) -> None:
        """Writes the states of optimizer and scheduler; `usual(folder)` is the trainer's own way."""
        if not self.gathers():
            usual(folder)
            return
        trainer, trained = self.trainer, self._trained()
        inner = moment_source(trainer.optimizer)
        steps = [float(state["step"]) for state in inner.state.values()]
        state = {
            index: {"step": torch.tensor(steps[0]), **{name: whole(p, name, inner) for name in MOMENTS}}
            for index, p in enumerate(trained.values())
            if steps
        }
        if trainer.args.should_save:
            decay = len(set(trained) & set(trainer.get_decay_parameter_names(trainer.model)))
            settings = {key: value for key, value in inner.param_groups[0].items() if key != "params"}
            groups = [
                {**settings, "weight_decay": trainer.args.weight_decay, "params": list(range(decay))},
                {**settings, "weight_decay": 0.0, "params": list(range(decay, len(trained)))},
            ]
            torch.save({"state": state, "param_groups": groups}, Path(folder) / OPTIMIZER_FILE)
            scheduler = for_groups(trainer.lr_scheduler.state_dict(), len(groups))
            torch.save(scheduler, Path(folder) / SCHEDULER_FILE)

    def load_optimizer(self, checkpoint: str | Path | None, usual: Callable) -> None:
        """Loads the states of optimizer and scheduler; `usual(checkpoint)` is the trainer's own way."""
        if checkpoint is None:
            return
        if self.gathers():
            self._put_moments(read_moments(checkpoint), checkpoint)
        elif not self._split() and (form := self._form(checkpoint)):
            inner, saved = self.trainer.optimizer.optimizer, read_moments(checkpoint, form)
            groups = inner.state_dict()["param_groups"]
            for group, then in zip(groups, saved["param_groups"], strict=True):
                group |= {key: then[key] for key in ("lr", "initial_lr")}
            inner.load_state_dict({"state": saved["state"], "param_groups": groups})
            self.trainer.lr_scheduler.load_state_dict(_tensors(checkpoint, SCHEDULER_FILE))
        else:
            usual(checkpoint)

    def _form(self, checkpoint: str | Path) -> str | None:
        """What `read_moments` is asked for; None where the trainer's own loading is right."""
        optim = self.trainer.args.optim
        if "bnb" in optim or "paged" in optim:
            return "bitsandbytes"
        if optim in ("adamw_torch", "adamw_torch_fused") and of_another_kind(checkpoint, optim == "adamw_torch_fused"):
            return "torch"
        return None

    def _put_moments(self, saved: dict, checkpoint: str | Path) -> None:
        trainer, inner = self.trainer, moment_source(self.trainer.optimizer)
        if saved["state"]:
            make_moments(trainer.optimizer, saved["state"][0]["step"], MOMENTS)
        for index, parameter in enumerate(self._trained().values()):
            for name in MOMENTS if saved["state"] else ():
                put(parameter, saved["state"][index][name], name, inner)
        for group in inner.param_groups:
            group["lr"], group["initial_lr"] = (saved["param_groups"][0][key] for key in ("lr", "initial_lr"))
        scheduler = _tensors(checkpoint, SCHEDULER_FILE)
        trainer.lr_scheduler.load_state_dict(for_groups(scheduler, len(inner.param_groups)))


def _tensors(checkpoint: str | Path, name: str, **settings) -> dict:
    return torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True, **settings)
