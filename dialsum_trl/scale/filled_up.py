"""The last batches of an epoch on several processes, which accelerate fills up with rows from the epoch's start."""


def own_rows(rows: int, batch: int, process: int, processes: int) -> int:
    """How many rows of a process' last batch in an epoch are not there to fill it up.

    Args:
        rows: of the epoch, over all processes.
        batch: rows of a full batch of one process.
    """
    rest = rows % (batch * processes) or batch * processes
    return min(batch, max(0, rest - process * batch))


class EachRowOnce:
    """Trainer mixin for a loss that is a mean over a step's supervised tokens: a row trains once an epoch.

    Where the rows do not divide, accelerate gives the processes the first rows of the epoch once more, so that all have
    as many batches. Here the labels of these copies are -100: the last step is that of one process. Packs are dealt
    whole and need none of it.
    """

    def _get_num_items_in_batch(self, batch_samples, device):
        world = self.accelerator.num_processes
        last = self.accelerator.gradient_state.end_of_dataloader and not self.args.dataloader_drop_last
        if world > 1 and last and "cu_seq_lens_q" not in batch_samples[-1]:
            batch = self._train_batch_size // (world if self.args.accelerator_config.split_batches else 1)
            own = own_rows(len(self.train_dataset), batch, self.accelerator.process_index, world)
            batch_samples[-1]["labels"][own:] = -100
        return super()._get_num_items_in_batch(batch_samples, device)
