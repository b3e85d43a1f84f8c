"""What every trainer shares: numbers are checked, checkpoints are whole, the saved adapter is checked too.

`CheckedTrainer` is the one class that overrides private methods of TRL's and transformers' trainers. Where other
classes of ours change more, an override calls a method with a public name, and passes the upstream method as `usual`.
tests/training/test_upstream.py names all that is private and used here, and fails when a release changes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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


@dataclass
class RunInfo:
    """What a run tells its trainer about itself.

    Args:
        settings: what `same_run.describe` returned; written into each checkpoint.
        record: (trainer, metrics) -> the content of `dialsum.json`.
        row_names: one per training row; errors name rows by them.
        lora_start: the adapter's first tensors, where they were taken out of the base's weights (PiSSA, OLoRA).
    """

    settings: dict | None = None
    record: Callable[[object, dict], dict] | None = None
    row_names: list[str] | None = None
    lora_start: dict[str, torch.Tensor] | None = None


class CheckedTrainer:
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

    def _get_grad_norm(self, model, grad_norm=None):
        """Once per optimizer step, after clipping and before the update. Callbacks do not get the norm."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of split gradients, under FSDP2
        self.numbers.step(norm)
        return norm

    def _run_epoch(self, *args, **kwargs):
        """The steps of an epoch. Callbacks can stop a run after its next step only."""
        if self.has_steps_left(kwargs["steps_trained_in_current_epoch"], kwargs["resume_from_checkpoint"]):
            super()._run_epoch(*args, **kwargs)

    def has_steps_left(self, skipped: int, checkpoint: str | None) -> bool:
        """Whether an epoch has steps to make: none after the last, which transformers checks only after a step.

        Args:
            skipped: batches of the epoch that a run skips which continues `checkpoint`.
        """
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

    def _save(self, output_dir=None, state_dict=None):
        """Saves only the active adapter, whatever others the base has, and a tied weight once, as one process would.

        Under DeepSpeed every tensor is copied before it is saved: tied weights are then no longer recognizable.
        """
        folder = output_dir or self.args.output_dir
        if not isinstance(self.model, PeftModel):
            if state_dict is not None:
                tied = getattr(self.accelerator.unwrap_model(self.model), "all_tied_weights_keys", None) or {}
                state_dict = {name: each for name, each in state_dict.items() if tied.get(name) not in state_dict}
            super()._save(folder, state_dict)
        elif self.args.should_save:
            tables = "auto" if self.model.peft_config[POLICY].trainable_token_indices else False
            self.model.save_pretrained(
                folder, selected_adapters=[POLICY], state_dict=state_dict, save_embedding_layers=tables
            )
            self.processing_class.save_pretrained(folder)
            torch.save(self.args, f"{folder}/{TRAINING_ARGS_NAME}")

    # Checkpoints: transformers.Trainer

    def _get_output_dir(self, trial):
        """The folder that checkpoints are written into."""
        return self.checkpoints.aside or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial):
        self.checkpoints.save(partial(super()._save_checkpoint, model, trial))

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        """Wraps the model, makes the optimizer and loads the checkpoint."""
        usual = partial(super()._prepare_for_training, max_steps, train_dataloader)
        return self.checkpoints.prepare(usual, max_steps, resume_from_checkpoint)

    def _load_best_model(self):
        self.checkpoints.load_best(super()._load_best_model)

    def _save_optimizer_and_scheduler(self, output_dir):
        self.checkpoints.portable.save_optimizer(output_dir, super()._save_optimizer_and_scheduler)

    def _load_optimizer_and_scheduler(self, checkpoint):
        self.checkpoints.portable.load_optimizer(checkpoint, super()._load_optimizer_and_scheduler)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        self.load_weights(resume_from_checkpoint, partial(super()._load_from_checkpoint, model=model))

    def load_weights(self, checkpoint, usual) -> None:
        """Loads the model of a checkpoint."""
        usual(checkpoint)

    # Rows and samples

    def _get_train_sampler(self, *args):
        return self.train_sampler(super()._get_train_sampler(*args))

    def train_sampler(self, usual):
        """The order of the training rows, given the upstream one."""
        return usual

    def _prepare_dataset(self, dataset, *args, **kwargs):
        """DPOTrainer's has no setting that leaves tokenized rows alone."""
        return self.prepare_rows(dataset, partial(super()._prepare_dataset, dataset, *args, **kwargs))

    def prepare_rows(self, rows, usual):
        """Rows as the trainer takes them."""
        return usual()

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        """GRPOTrainer's sampling: id lists, one per prompt, and their log-probabilities or None."""
        return self.generate(prompt_ids, partial(super()._generate_single_turn, prompt_ids, *args, **kwargs))

    def generate(self, prompt_ids, usual):
        """Completions of prompts (each prompt repeated once per completion)."""
        return usual()

    def _generate_and_score_completions(self, inputs):
        """GRPOTrainer's rollout: a batch of tensors that optimizer steps learn from."""
        return self.rollout(inputs, super()._generate_and_score_completions)

    def rollout(self, rows, usual):
        """Samples and scores completions for these rows."""
        return usual(rows)
