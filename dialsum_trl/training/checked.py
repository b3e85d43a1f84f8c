"""What every trainer shares: loss and gradients are checked, evaluation writes summaries and scores them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from peft import PeftModel

from dialsum_trl.core.errors import TrainingError, settings_in_one_line
from dialsum_trl.models.adapters import check_adapter, upcast_trained
from dialsum_trl.training.checkpoints.whole import WholeCheckpoints, last_good
from dialsum_trl.training.distributed.four_bit import ExactShards
from dialsum_trl.training.distributed.sharding import saved_shapes
from dialsum_trl.training.step_rows import not_finite, not_finite_there


@dataclass
class RunInfo:
    """What a run hands its trainer of itself.

    Args:
        settings: what `same_run.describe` returned; written into each checkpoint.
        record: (trainer, metrics) -> the content of `dialsum.json`.
        row_names: one per training row; errors name rows by them.
    """

    settings: dict | None = None
    record: Callable[[object, dict], dict] | None = None
    row_names: list[str] | None = None


@dataclass
class StepNumbers:
    """What is checked of an optimizer step, and what an error about it names."""

    step: int
    epoch: float
    batches: list
    numbers: object  # float32 (1 + micro-batches,) on the host once `ready`: gradient norm, losses
    ready: object | None  # the CUDA event behind which `numbers` is filled

    def read(self) -> tuple[float, list[float]]:
        """The gradient norm and the losses."""
        if self.ready is not None:
            self.ready.synchronize()
        norm, *losses = self.numbers.tolist()
        return norm, losses


class CheckedTrainer(ExactShards, WholeCheckpoints):
    """Trainer mixin: stops when loss or gradient is not finite, when the adapter does not train or is not saved whole;
    checkpoints are whole or absent.

    Losses and the gradient norm of a step are read while the device works on the next one (and before anything is
    logged, evaluated or saved), so that it never waits for the host: torch's fused optimizers leave the weights alone
    when they are told that a number is not finite. With other optimizers they are read before the update. With fp16 a
    non-finite norm is what the GradScaler looks for: such steps are skipped, and only many in a row are an error.

    Args:
        run_info: what the run hands over of itself.
        trained_dtype: what is trained is kept in it: `precision.trained_dtype`.
    """

    max_overflows = 20  # the scale halves at each: 65536 is below 1 after 16
    max_idle_steps = 3

    overflows = 0
    idle_steps = 0
    unread: StepNumbers | None = None

    dev_rouge = None  # `dev_rouge.DevRouge`, where evaluations summarize rows

    def __init__(self, *args, run_info: RunInfo | None = None, trained_dtype: str = "float32", **kwargs):
        self.run_info = run_info or RunInfo()
        with settings_in_one_line():
            super().__init__(*args, **kwargs)
        upcast_trained(self.model, trained_dtype)

    def record(self, metrics: dict) -> dict:
        """The content of `dialsum.json` for what this trainer has trained so far."""
        return self.run_info.record(self, metrics)

    @property
    def rows_per_step(self) -> int:
        return self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size

    def _build_accelerator_args(self, **kwargs):
        """Under DDP gradients lie in its buckets: an adapter has hundreds of small ones, which are not copied back."""
        arguments = super()._build_accelerator_args(**kwargs)
        for handler in arguments["kwargs_handlers"]:
            if hasattr(handler, "gradient_as_bucket_view"):
                handler.gradient_as_bucket_view = True
        return arguments

    def training_step(self, model, inputs, num_items_in_batch=None):
        if getattr(self, "_total_train_tokens", None) == 0:  # TRL's count: a run that continues goes on from its log
            logged = [entry["num_tokens"] for entry in self.state.log_history if "num_tokens" in entry]
            self._total_train_tokens = int(logged[-1]) if logged else 0
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._step_parts.append((inputs, loss.detach()))  # the trainer holds a step's batches until its end anyway
        return loss

    @cached_property
    def _step_parts(self) -> list[tuple]:
        return []

    @cached_property
    def _skipping(self):
        """torch's fused optimizer, which skips an update by itself: a step's numbers may be read during the next.

        None with any other, with fp16 (the GradScaler skips), and where the weights or gradients are split.
        """
        if self.is_deepspeed_enabled or self.is_fsdp_enabled or self.args.fp16:
            return None
        optimizer = self.optimizer.optimizer  # accelerate's wrapper around it
        return optimizer if getattr(optimizer, "_step_supports_amp_scaling", False) else None

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of split gradients, under FSDP2
        losses = [loss.float() for _, loss in self._step_parts]
        numbers = torch.stack([torch.as_tensor(norm, dtype=torch.float32, device=losses[0].device), *losses])
        batches = [inputs for inputs, _ in self._step_parts]
        self._step_parts.clear()
        self.check_numbers()  # the step before
        ready = None
        if self._skipping is not None:
            self._skipping.found_inf = (~torch.isfinite(numbers).all()).float()
            numbers = numbers.to("cpu", non_blocking=True)
            if losses[0].is_cuda:
                ready = torch.cuda.Event()
                ready.record()
        self.unread = StepNumbers(self.state.global_step + 1, self.state.epoch or 0, batches, numbers, ready)
        if self._skipping is None:
            self.check_numbers()
        return norm

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        control = self.control
        if control.should_save and self.args.logging_strategy != "no":
            control.should_log = True  # means and counts since the last line are not in a checkpoint
        if control.should_log or control.should_evaluate or control.should_save or control.should_training_stop:
            self.check_numbers()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def check_numbers(self) -> None:
        """Reads what was kept of the last step.

        Raises:
            TrainingError: its loss or gradient norm is not finite, or the norm has been 0 for too long.
        """
        if self.unread is None:
            return
        part, self.unread = self.unread, None
        value, losses = part.read()
        overflow = self.args.fp16 and not math.isfinite(value) and all(map(math.isfinite, losses))
        if overflow and self.overflows < self.max_overflows:
            self.overflows += 1
        elif not (math.isfinite(value) and all(map(math.isfinite, losses))):
            raise TrainingError(
                f"step {part.step} (epoch {part.epoch:.2f}): {not_finite(self, part.batches, losses, value)} "
                f"{last_good(self.args.output_dir)}"
            )
        else:
            self.overflows = 0
            self.idle_steps = self.idle_steps + 1 if value == 0 else 0
            if self.idle_steps == self.max_idle_steps:
                raise TrainingError(
                    f"step {part.step}: the gradient norm was 0 for {self.idle_steps} steps: the adapter is not "
                    f"training. Check --adapter_path, --lora_target_modules and that the rows have summaries"
                )

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """As the trainer's.

        Raises:
            TrainingError: the loss is not finite: no checkpoint can be chosen by it.
        """
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        loss = metrics.get(f"{metric_key_prefix}_loss")
        if loss is not None and not math.isfinite(loss):
            raise TrainingError(
                f"step {self.state.global_step}: evaluation {not_finite_there(self, eval_dataset, loss)} "
                f"{last_good(self.args.output_dir)}"
            )
        return metrics

    def is_local_process_zero(self) -> bool:
        """One process of the run prints, not one a machine."""
        return self.is_world_process_zero()

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        if self.args.should_save and isinstance(self.model, PeftModel):
            # the first step may have learning rate 0
            check_adapter(output_dir or self.args.output_dir, saved_shapes(self.model), self.state.global_step > 1)
