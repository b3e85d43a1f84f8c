"""Each row counts once: in an optimizer step, and in the evaluation loss.

transformers takes the mean of the evaluation batches' means, and on several processes it counts rows that fill up the
last batch instead of real ones: its figure depends on the evaluation batch size and on the number of processes.
"""

import torch


class RowLoss:
    """Trainer mixin for a loss that is a mean over supervised tokens. All rows have labels.

    `eval_loss` is the loss of all evaluation rows over their supervised tokens. The trainer's loss of a batch is the
    mean over its tokens: loss x tokens is summed on the device, in float64, and over the processes once per evaluation.
    A loss that is not finite stays so.

    In training a row counts once per epoch. Where the rows do not divide, accelerate gives the processes the first rows
    of the epoch once more, so that all have as many batches: the labels of these copies are set to -100, and the last
    step is that of one process. Packs are distributed whole and need none of this.
    """

    _loss_and_tokens = 0  # float64 (2,): summed loss and supervised tokens of this process

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As the trainer's, of batches without labels in rows that fill up."""
        return super().get_batch_samples(map(self._without_copies, epoch_iterator), num_batches, device)

    def _without_copies(self, batch):
        world = self.accelerator.num_processes
        last = self.accelerator.gradient_state.end_of_dataloader and not self.args.dataloader_drop_last
        if world > 1 and last and "cu_seq_lens_q" not in batch:
            rows = self._train_batch_size // (world if self.args.accelerator_config.split_batches else 1)
            own = own_rows(len(self.train_dataset), rows, self.accelerator.process_index, world)
            batch["labels"][own:] = -100
        return batch

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        self._loss_and_tokens = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        loss, tokens = self.accelerator.reduce(self._loss_and_tokens, "sum")
        output.metrics[f"{metric_key_prefix}_loss"] = (loss / tokens).item()
        return output

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None, **generation):
        """As the trainer's; rows that fill the last batch up have no part in the loss."""
        own = self._own_rows(inputs)
        if own:  # where there is none the labels stay, since a mean over no tokens is no number, and do not count
            inputs = {**inputs, "labels": own_labels(inputs, own)}
        loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys, **generation)
        if own != 0:
            self._add(loss, inputs["labels"])
        return loss, logits, labels

    def _add(self, loss, labels) -> None:
        if not self.model.config.is_encoder_decoder:
            labels = labels[:, 1:]  # they are shifted: nothing predicts the first token
        tokens = labels.ne(-100).sum().to(loss.device)
        self._loss_and_tokens = self._loss_and_tokens + torch.stack([loss.double() * tokens, tokens.double()])

    def _own_rows(self, inputs) -> int | None:
        """How many rows of this batch, from its first on, are no fill-ups; None: all.

        accelerate fills the last batch of all processes up with rows from the start; `remainder` counts the real ones.
        """
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:
            return None
        if "position_ids" in inputs:  # a pack is one row of many
            rows = state.active_dataloader.total_batch_size // self.accelerator.num_processes
        else:
            rows = len(inputs["input_ids"])
        own = own_rows(state.remainder, rows, self.accelerator.process_index, self.accelerator.num_processes)
        return None if own == rows else own


def own_labels(inputs, own: int):
    """The labels with -100 in all rows after the first `own` ones.

    Args:
        inputs: labels (B, T); or a pack: labels and position_ids (1, T), which start at 0 in each of its rows.
        own: rows.
    """
    labels = inputs["labels"]
    if "position_ids" in inputs:
        row = inputs["position_ids"].eq(0).cumsum(-1) - 1
    else:
        row = torch.arange(len(labels), device=labels.device)[:, None]
    return labels.masked_fill(row >= own, -100)


def own_rows(rows: int, batch: int, process: int, processes: int) -> int:
    """How many rows of a process' last batch in an epoch are not there to fill it up.

    Args:
        rows: of the epoch, over all processes.
        batch: rows of a full batch of one process.
    """
    rest = rows % (batch * processes) or batch * processes
    return min(batch, max(0, rest - process * batch))
