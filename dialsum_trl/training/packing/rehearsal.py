"""The longest pack goes through the model behind the first step, so that memory holds from then on or not at all.

Packs of one plan differ by a few percent, and the longest may come in the last epoch: without this, memory grows for
hours, and what does not fit is known only then. Behind the first step the optimizer's moments are there already.
"""

from dialsum_trl.core.console import say


def rehearse(trainer, rows: list[int]) -> None:
    """Runs a pack forward and backward and forgets it: weights, random numbers, metrics and gradients stay.

    Every process has to call it. Says how much memory the GPU has given out at most.

    Args:
        trainer: between two optimizer steps, with `fast.loss.DeferredMetrics`; another loss than that is left alone.
        rows: numbers of the pack's training rows.
    """
    import torch

    model, device = trainer.model_wrapped, trainer.args.device
    columns = trainer.train_dataset[rows]
    pairs = zip(columns["input_ids"], columns["labels"], strict=True)
    inputs = trainer.data_collator([{"input_ids": ids, "labels": labels} for ids, labels in pairs])
    if not trainer.defers(inputs):
        return
    inputs = trainer._prepare_inputs(inputs)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        with trainer.compute_loss_context_manager():
            loss, outputs = trainer.loss_and_outputs(model, inputs, inputs["labels"].shape[-1])
        trainer.accelerator.backward(loss)
    del loss, outputs
    model.zero_grad()
    if device.type == "cuda":
        peak = torch.cuda.max_memory_reserved(device) / 2**30
        say(f"The longest pack of the run, {inputs['labels'].shape[-1]} tokens, was rehearsed: {peak:.1f} GiB")
