"""The SFT trainer."""

import trl
from peft.optimizers import create_loraplus_optimizer

from dialsum_trl.training.checked import CheckedTrainer
from dialsum_trl.training.dev_rouge import DevRouge
from dialsum_trl.training.packing.deferred import DeferredMetrics
from dialsum_trl.training.packing.packs import ScheduleSampler, pack_loader
from dialsum_trl.training.packing.prepare import FastPath
from dialsum_trl.training.packing.rehearsal import ScheduleCallback
from dialsum_trl.training.row_loss import RowLoss
from dialsum_trl.training.trackers import log_summaries


class SFTTrainer(RowLoss, CheckedTrainer, trl.SFTTrainer):
    """TRL's trainer on packs: checked gradients, ROUGE with the evaluation loss, portable checkpoints.

    Args:
        packing: what `packing.prepare` returned; it brings its own collator. None: TRL's padded batches.
        dev_rouge: what each evaluation summarizes and scores; None: nothing.
        loraplus_lr_ratio: learning rate of LoRA's B by that of A (LoRA+); None: one learning rate.
    """

    def __init__(
        self,
        *args,
        packing: FastPath | None = None,
        dev_rouge: DevRouge | None = None,
        loraplus_lr_ratio: float | None = None,
        **kwargs,
    ):
        self.packing, self.dev_rouge, self.loraplus_lr_ratio = packing, dev_rouge, loraplus_lr_ratio
        self.deferred = DeferredMetrics()
        self._parameters = None  # counted once, see `floating_point_ops`
        if packing is not None:
            kwargs["data_collator"] = packing.collator
        super().__init__(*args, **kwargs)

    @property
    def rows_per_step(self) -> int:
        return super().rows_per_step if self.packing is None else self.packing.schedule.rows_per_step

    def get_train_dataloader(self):
        if self.packing is None:
            return super().get_train_dataloader()
        sampler = ScheduleSampler(self.packing.schedule)
        self.add_callback(ScheduleCallback(self, sampler))
        return self.accelerator.prepare(pack_loader(self, sampler))

    def create_optimizer(self, model=None):
        if self.optimizer is not None or self.loraplus_lr_ratio is None:
            return super().create_optimizer(model)
        kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        settings |= {"loraplus_lr_ratio": self.loraplus_lr_ratio, "loraplus_weight_decay": self.args.weight_decay}
        self.optimizer = create_loraplus_optimizer(self.model, kind, **settings)
        return self.optimizer

    def floating_point_ops(self, inputs) -> int:
        """As the trainer counts, without walking over every parameter at every step."""
        if self._parameters is None:
            self._parameters = self.model.num_parameters(exclude_embeddings=True)
        return 6 * inputs["input_ids"].numel() * self._parameters

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        counted = num_items_in_batch is not None and not return_outputs
        if not (counted and self.model.training and self.deferred.applies(self, inputs)):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = self.deferred.loss(model, inputs, num_items_in_batch)
        if self.args.average_tokens_across_devices:  # the count is of all processes, and DDP averages over them
            loss = loss * self.accelerator.num_processes
        return loss

    def log(self, logs, start_time=None):
        if self.deferred.sums is not None and self.model.training:
            metrics, seen = self.deferred.read(self.accelerator)
            self._total_train_tokens += seen
            logs.update(metrics, num_tokens=self._total_train_tokens)
        super().log(logs, start_time)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if self.dev_rouge is not None and metric_key_prefix == "eval":
            output.metrics.update(self.dev_rouge.measure(self))
        return output

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if self.dev_rouge is not None and metric_key_prefix == "eval":
            # after the scores: they open a tracker that was closed when training ended
            log_summaries(self, self.dev_rouge.references, self.dev_rouge.texts)
        return metrics
