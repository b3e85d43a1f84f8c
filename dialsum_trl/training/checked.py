"""What every trainer shares: numbers are checked, checkpoints are whole, the saved adapter is checked too."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers.trainer import TRAINING_ARGS_NAME

from dialsum_trl.core.errors import settings_in_one_line
from dialsum_trl.models.adapters import POLICY, check_adapter, upcast_trained
from dialsum_trl.training.checkpoints.whole import Checkpoints
from dialsum_trl.training.dev_rouge import DevRouge
from dialsum_trl.training.distributed.four_bit import Shards
from dialsum_trl.training.distributed.sharding import saved_shapes
from dialsum_trl.training.number_check import NumberCheck
from dialsum_trl.training.upstream import Upstream


@dataclass
class RunInfo:
    """What a run tells its trainer about itself.

    Args:
        settings: what `same_run.describe` returned; written into each checkpoint.
        record: (trainer, metrics) -> the content of `dialsum.json`.
        row_names: one per training row; errors name rows by them.
    """

    settings: dict | None = None
    record: Callable[[object, dict], dict] | None = None
    row_names: list[str] | None = None


class CheckedTrainer(Upstream):
    """Trainer mixin, above TRL's or transformers' trainer. It overrides their methods once and calls plain objects:
    `NumberCheck`, `Checkpoints` and `Shards`.

    Numbers are read before anything is saved; settings and record are in a checkpoint before it is sealed.

    Args:
        run_info: see `RunInfo`.
        trained_dtype: what is trained is kept in it: `precision.trained_dtype`.
    """

    dev_rouge: DevRouge | None = None  # where evaluations summarize rows

    def __init__(self, *args, run_info: RunInfo | None = None, trained_dtype: str = "float32", **kwargs):
        self.run_info = run_info or RunInfo()
        with settings_in_one_line():
            super().__init__(*args, **kwargs)
        upcast_trained(self.model, trained_dtype)
        self.checkpoints, self.shards, self.numbers = Checkpoints(self), Shards(self), NumberCheck(self)
        self.add_callback(self.numbers)
        if self.accelerator.ddp_handler is not None:
            # gradients are views of DDP's buckets: an adapter has hundreds of small ones, which need no copy
            self.accelerator.ddp_handler.gradient_as_bucket_view = True

    def record(self, metrics: dict) -> dict:
        """The content of `dialsum.json` for what this trainer has trained so far."""
        return self.run_info.record(self, metrics)

    @property
    def rows_per_step(self) -> int:
        """Rows of an optimizer step over all processes."""
        return self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size

    def compute_loss_context_manager(self):
        stack = super().compute_loss_context_manager()
        if self.shards.autocasts:
            stack.enter_context(self.accelerator.autocast())
        return stack

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.shards.check(model)
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.numbers.add(inputs, loss)
        return loss

    def norm_known(self, norm) -> None:
        self.numbers.step(norm)

    def has_steps_left(self, skipped: int, checkpoint: str | None) -> bool:
        """No step after the last: transformers checks whether a run is over only after a step."""
        return self.state.global_step < self.state.max_steps

    def is_local_process_zero(self) -> bool:
        """One process of the run prints, not one per machine."""
        return self.is_world_process_zero()

    def save_model(self, output_dir=None, _internal_call=False):
        folder = output_dir or self.args.output_dir
        if (state := self.checkpoints.portable.state()) is not None:
            self._save(folder, state_dict=state)
        else:
            super().save_model(folder, _internal_call)
        if self.args.should_save and isinstance(self.model, PeftModel):
            # the first step may have learning rate 0
            check_adapter(folder, saved_shapes(self.model), self.state.global_step > 1)

    def write_model(self, folder, state_dict, usual) -> None:
        """Saves only the active adapter, whatever others the base has, and a tied weight once, as one process would.

        Under DeepSpeed every tensor is copied before it is saved: tied weights are then no longer recognizable.
        """
        if not isinstance(self.model, PeftModel):
            if state_dict is not None:
                tied = getattr(self.accelerator.unwrap_model(self.model), "all_tied_weights_keys", None) or {}
                state_dict = {name: each for name, each in state_dict.items() if tied.get(name) not in state_dict}
            usual(folder, state_dict)
        elif self.args.should_save:
            tables = "auto" if self.model.peft_config[POLICY].trainable_token_indices else False
            self.model.save_pretrained(
                folder, selected_adapters=[POLICY], state_dict=state_dict, save_embedding_layers=tables
            )
            self.processing_class.save_pretrained(folder)
            torch.save(self.args, f"{folder}/{TRAINING_ARGS_NAME}")
