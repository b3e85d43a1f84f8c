"""Losses and gradient norms are finite, or the run stops and says where."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import TrainerCallback

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.training.checkpoints.whole import last_good
from dialsum_trl.training.step_rows import not_finite, not_finite_there


@dataclass
class StepNumbers:
    """The numbers of an optimizer step that are checked, and what its error message names."""

    step: int
    epoch: float
    batches: list
    numbers: torch.Tensor  # float32 (1 + micro-batches,) on the host once `ready`: gradient norm, losses
    ready: torch.cuda.Event | None  # after which `numbers` is filled

    def read(self) -> tuple[float, list[float]]:
        """The gradient norm and the losses."""
        if self.ready is not None:
            self.ready.synchronize()
        norm, *losses = self.numbers.tolist()
        return norm, losses


class NumberCheck(TrainerCallback):
    """Stops a run whose loss or gradient is not finite, or whose adapter does not train.

    Losses and the gradient norm of a step are read while the device works on the next one (and before anything is
    logged, evaluated or saved), so that it never waits for the host: torch's fused optimizers skip the update
    when they are passed a number that is not finite. With other optimizers they are read before the update. With fp16 a
    non-finite norm is what the GradScaler looks for: such steps are skipped, and only many in a row are an error.
    """

    max_overflows = 20  # the scale halves at each: 65536 is below 1 after 16
    max_idle_steps = 3

    def __init__(self, trainer):
        self.trainer = trainer
        self.parts: list[tuple] = []  # inputs and loss of each micro-batch of the step
        self.unread: StepNumbers | None = None
        self.overflows = self.idle_steps = 0

    @cached_property
    def skipping(self):
        """torch's fused optimizer, which skips an update by itself: a step's numbers may be read during the next.

        None with any other, with fp16 (the GradScaler skips), and where the weights or gradients are split.
        """
        trainer = self.trainer
        if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled or trainer.args.fp16:
            return None
        optimizer = trainer.optimizer.optimizer  # accelerate's wrapper around it
        return optimizer if getattr(optimizer, "_step_supports_amp_scaling", False) else None

    def add(self, inputs, loss) -> None:
        """A micro-batch and its loss."""
        self.parts.append((inputs, loss.detach()))  # the trainer keeps the batches of a step until its end anyway

    def step(self, norm) -> None:
        """The gradient norm of the micro-batches added since the last step, before the update."""
        losses = [loss.float() for _, loss in self.parts]
        numbers = torch.stack([torch.as_tensor(norm, dtype=torch.float32, device=losses[0].device), *losses])
        batches = [inputs for inputs, _ in self.parts]
        self.parts.clear()
        self.read()  # the step before
        ready = None
        if self.skipping is not None:
            self.skipping.found_inf = (~torch.isfinite(numbers).all()).float()
            numbers = numbers.to("cpu", non_blocking=True)
            if losses[0].is_cuda:
                ready = torch.cuda.Event()
                ready.record()
        state = self.trainer.state
        self.unread = StepNumbers(state.global_step + 1, state.epoch or 0, batches, numbers, ready)
        if self.skipping is None:
            self.read()

    def on_step_end(self, args, state, control, **kwargs):
        if control.should_save and args.logging_strategy != "no":
            control.should_log = True  # means and counts since the last line are not in a checkpoint
        if control.should_log or control.should_evaluate or control.should_save or control.should_training_stop:
            self.read()

    on_epoch_end = on_step_end

    def read(self) -> None:
        """Reads what was kept of the last step."""
        if self.unread is None:
            return
        part, self.unread = self.unread, None
        norm, losses = part.read()
        finite = all(map(math.isfinite, losses))
        if self.trainer.args.fp16 and finite and not math.isfinite(norm) and self.overflows < self.max_overflows:
            self.overflows += 1
            return
        if not (finite and math.isfinite(norm)):
            raise TrainingError(
                f"step {part.step} (epoch {part.epoch:.2f}): {not_finite(self.trainer, part.batches, losses, norm)} "
                f"{last_good(self.trainer.args.output_dir)}"
            )
        self.overflows = 0
        self.idle_steps = self.idle_steps + 1 if norm == 0 else 0
        if self.idle_steps == self.max_idle_steps:
            raise TrainingError(
                f"step {part.step}: the gradient norm was 0 for {self.idle_steps} steps: the adapter is not training. "
                f"Check --adapter_path, --lora_target_modules and that the rows have summaries"
            )

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        """Raises TrainingError where the evaluation loss is not finite: no checkpoint can be chosen by it."""
        loss = metrics.get("eval_loss")
        if loss is not None and not math.isfinite(loss):
            where = not_finite_there(self.trainer, loss)
            raise TrainingError(f"step {state.global_step}: evaluation {where} {last_good(args.output_dir)}")
