"""The longest pack goes through the model after the first step, so that a run that does not fit fails at once.

Packs of one plan differ by a few percent, and the longest may come in the last epoch: without this, a run
could run out of memory after hours. After the first step the optimizer's moments are there already.
"""

import math

import torch
from transformers import TrainerCallback

from dialsum_trl.core.console import say
from dialsum_trl.training.packing.deferred import DeferredMetrics, loss_and_outputs


class ScheduleCallback(TrainerCallback):
    """Sets the sampler's epoch, and rehearses the longest pack once.

    Not under DeepSpeed, whose engine counts backward passes.

    Args:
        trainer: a `sft_trainer.SFTTrainer`.
        sampler: its `packs.ScheduleSampler`.
    """

    rehearses_on = ("cuda",)

    def __init__(self, trainer, sampler):
        self.trainer, self.sampler = trainer, sampler
        self.rehearsed = trainer.args.device.type not in self.rehearses_on or trainer.is_deepspeed_enabled

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Also where the trainer's own `set_epoch` does not reach: a resumed run on several processes."""
        self.sampler.set_epoch(int(state.epoch + 1e-6))

    def on_step_end(self, args, state, control, **kwargs):
        if not self.rehearsed and state.global_step < state.max_steps:
            rehearse(self.trainer, self.sampler.schedule.longest(math.ceil(state.num_train_epochs)))
        self.rehearsed = True


def rehearse(trainer, rows: list[int]) -> None:
    """Runs a pack forward and backward and forgets it: weights, random numbers, metrics and gradients stay.

    Every process has to call it. Prints the peak of reserved GPU memory.

    Args:
        trainer: between two optimizer steps; another loss than that of `DeferredMetrics` is left alone.
        rows: numbers of the pack's training rows.
    """
    model, device = trainer.model_wrapped, trainer.args.device
    columns = trainer.train_dataset[rows]
    pairs = zip(columns["input_ids"], columns["labels"], strict=True)
    inputs = trainer.data_collator([{"input_ids": ids, "labels": labels} for ids, labels in pairs])
    if not DeferredMetrics.applies(trainer, inputs):
        return
    inputs = trainer._prepare_inputs(inputs)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        with trainer.compute_loss_context_manager():
            loss, outputs = loss_and_outputs(model, inputs, inputs["labels"].shape[-1])
        trainer.accelerator.backward(loss)
    del loss, outputs
    model.zero_grad()
    if device.type == "cuda":
        peak = torch.cuda.max_memory_reserved(device) / 2**30
        say(f"The longest pack of the run, {inputs['labels'].shape[-1]} tokens, was rehearsed: {peak:.1f} GiB")
