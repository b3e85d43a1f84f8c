"""Checkpoints that one process and many processes can continue from alike.

DeepSpeed and FSDP save optimizer states as each rank's pieces, which load on the same number of ranks only. What a LoRA
run trains is small, so it is gathered instead: the adapter's float32 masters and the optimizer's moments are written as
one process would write them (`adapter_model.safetensors`, and `optimizer.pt` in the form of torch's AdamW).
"""

from pathlib import Path

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.training.distributed.sharding import make_moments, moment_source, put, saved_name, whole

OPTIMIZER_FILE, SCHEDULER_FILE, ADAPTER_FILE = "optimizer.pt", "scheduler.pt", "adapter_model.safetensors"
WRAPPED = "__bnb_optimizer_quant_state__"  # bitsandbytes keeps its tensors in a dict of their own, away from FSDP
MOMENTS = {"exp_avg": "state1", "exp_avg_sq": "state2"}  # torch's name -> bitsandbytes'


def read_moments(checkpoint: str | Path, form: str = "torch") -> dict:
    """`optimizer.pt` with the names of torch's AdamW ("torch") or of bitsandbytes' ("bitsandbytes")."""
    import torch

    saved = torch.load(Path(checkpoint) / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
    names = {theirs: ours for ours, theirs in MOMENTS.items()} if form == "torch" else MOMENTS
    for state in saved["state"].values():
        state |= state.pop(WRAPPED, {})
        for name in [name for name in state if name in names]:
            state[names[name]] = state.pop(name)
        state["step"] = torch.tensor(float(state["step"])) if form == "torch" else int(state["step"])
    return saved


def written_by_bitsandbytes(checkpoint: str | Path) -> bool:
    """Whether `optimizer.pt` holds the moments by bitsandbytes' names (32 bit)."""
    import torch

    path = Path(checkpoint) / OPTIMIZER_FILE
    if not path.exists():
        return False  # DeepSpeed and FSDP without LoRA have folders
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state"]
    return any(MOMENTS["exp_avg"] in each.get(WRAPPED, each) for each in state.values())


def for_groups(scheduler: dict, count: int) -> dict:
    """A scheduler's state for `count` parameter groups of one learning rate (DeepSpeed drops groups that are empty)."""
    return {key: value[:1] * count if isinstance(value, list) else value for key, value in scheduler.items()}


class AnyAdamW:
    """Trainer mixin: AdamW's moments load into torch's optimizer or bitsandbytes', whichever of them wrote them."""

    def _load_optimizer_and_scheduler(self, checkpoint):
        split = self.is_deepspeed_enabled or self.is_fsdp_enabled
        if checkpoint is None or split or not (form := self._form(checkpoint)):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        import torch

        inner, saved = self.optimizer.optimizer, read_moments(checkpoint, form)
        groups = inner.state_dict()["param_groups"]
        for group, then in zip(groups, saved["param_groups"], strict=True):
            group |= {key: then[key] for key in ("lr", "initial_lr")}
        inner.load_state_dict({"state": saved["state"], "param_groups": groups})
        scheduler = torch.load(Path(checkpoint) / SCHEDULER_FILE, map_location="cpu", weights_only=True)
        self.lr_scheduler.load_state_dict(scheduler)

    def _form(self, checkpoint) -> str | None:
        """What `read_moments` is asked for; None where the trainer's own loading is right."""
        optim = self.args.optim
        if "bnb" in optim or "paged" in optim:
            return "bitsandbytes"
        if optim in ("adamw_torch", "adamw_torch_fused") and written_by_bitsandbytes(checkpoint):
            return "torch"
        return None


class PortableCheckpoints(AnyAdamW):
    """Trainer mixin for LoRA runs: ZeRO and FSDP save what one process would save, and either loads anywhere."""

    def _gathers(self) -> bool:
        from peft import PeftModel

        return (self.is_deepspeed_enabled or self.is_fsdp_enabled) and isinstance(self.model, PeftModel)

    def _trained(self) -> dict:
        """Trained parameters by name in the order of one process' optimizer: those with weight decay first."""
        decay = set(self.get_decay_parameter_names(self.model))
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        return dict([pair for pair in named if pair[0] in decay] + [pair for pair in named if pair[0] not in decay])

    # saving

    def save_model(self, output_dir=None, _internal_call=False):
        if not self._gathers() or (self.is_deepspeed_enabled and self.model_wrapped is self.model):
            super().save_model(output_dir, _internal_call)
            return
        state = {name: whole(parameter) for name, parameter in self._trained().items()}
        self._save(output_dir or self.args.output_dir, state_dict=state)

    def _save_optimizer_and_scheduler(self, output_dir):
        if not self._gathers():
            super()._save_optimizer_and_scheduler(output_dir)
            return
        import torch

        inner, trained = moment_source(self.optimizer), self._trained()
        steps = [float(state["step"]) for state in inner.state.values()]
        state = {
            index: {"step": torch.tensor(steps[0]), **{name: whole(p, name, inner) for name in MOMENTS}}
            for index, p in enumerate(trained.values())
            if steps
        }
        if self.args.should_save:
            decay = len(set(trained) & set(self.get_decay_parameter_names(self.model)))
            settings = {key: value for key, value in inner.param_groups[0].items() if key != "params"}
            groups = [
                {**settings, "weight_decay": self.args.weight_decay, "params": list(range(decay))},
                {**settings, "weight_decay": 0.0, "params": list(range(decay, len(trained)))},
            ]
            torch.save({"state": state, "param_groups": groups}, Path(output_dir) / OPTIMIZER_FILE)
            scheduler = for_groups(self.lr_scheduler.state_dict(), len(groups))
            torch.save(scheduler, Path(output_dir) / SCHEDULER_FILE)

    # loading

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        if not self._gathers() or resume_from_checkpoint is None:
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        self._put_adapter(resume_from_checkpoint)
        self._load_optimizer_and_scheduler(resume_from_checkpoint)
        return prepared

    def _load_best_model(self):
        if self._gathers():
            self._put_adapter(self.state.best_model_checkpoint)
        else:
            super()._load_best_model()

    def _put_adapter(self, checkpoint) -> None:
        from safetensors.torch import load_file

        values = load_file(Path(checkpoint) / ADAPTER_FILE)
        for name, parameter in self._trained().items():
            if saved_name(name) not in values:
                raise TrainingError(f"{checkpoint}: its adapter lacks {saved_name(name)}; it belongs to another run")
            put(parameter, values[saved_name(name)])

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is None:
            return
        import torch

        if self._gathers():
            saved = read_moments(checkpoint)
            inner = moment_source(self.optimizer)
            if saved["state"]:
                make_moments(self.optimizer, saved["state"][0]["step"], MOMENTS)
            for index, parameter in enumerate(self._trained().values()):
                for name in MOMENTS if saved["state"] else ():
                    put(parameter, saved["state"][index][name], name, inner)
        else:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        for group in inner.param_groups:
            group["lr"], group["initial_lr"] = (saved["param_groups"][0][key] for key in ("lr", "initial_lr"))
        scheduler = torch.load(Path(checkpoint) / SCHEDULER_FILE, map_location="cpu", weights_only=True)
        self.lr_scheduler.load_state_dict(for_groups(scheduler, len(inner.param_groups)))


class TiedWeightsOnce:
    """Trainer mixin: a saved model holds a tied weight once, as one process writes it.

    Under DeepSpeed every tensor is copied before it is saved: nothing tells then that two of them are one.
    """

    def _save(self, output_dir=None, state_dict=None):
        if state_dict is not None:
            tied = getattr(self.accelerator.unwrap_model(self.model), "all_tied_weights_keys", None) or {}
            state_dict = {name: each for name, each in state_dict.items() if tied.get(name) not in state_dict}
        super()._save(output_dir, state_dict)
