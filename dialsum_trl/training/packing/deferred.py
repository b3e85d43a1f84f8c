"""TRL's loss without the waiting: entropy and accuracy stay on the device until a log line asks for them.

`SFTTrainer.compute_loss` reads them on the host, gathered over all processes, between the forward and the backward pass
of every micro-batch. The device then waits for the host, which has to launch the whole backward pass first.
"""


class DeferredMetrics:
    """Trainer mixin: the loss of `SFTTrainer` for plain cross-entropy training; metrics are summed on the device.

    `entropy` and `mean_token_accuracy` become means over the supervised tokens between two log lines, where TRL takes
    the mean over micro-batches. Everything but training with that loss goes TRL's own way.
    """

    _sums = None  # float64 (3,): supervised tokens, summed entropy, tokens predicted right, of this process
    _seen = 0  # tokens of this process since the last log line

    def defers(self, inputs) -> bool:
        """Whether these rows train with the loss below, and not TRL's own way."""
        return (
            self.args.loss_type == "nll" and self.compute_loss_func is None and self.label_smoother is None
            and not self.aux_loss_enabled and "position_ids" in inputs
        )  # fmt: skip

    def loss_and_outputs(self, model, inputs, tokens):
        """The mean over `tokens` supervised tokens of a step, and the model's outputs with what metrics need."""
        import torch

        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        return -outputs.log_probs.sum() / torch.as_tensor(tokens).clamp(min=1), outputs

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        import torch

        if num_items_in_batch is None or return_outputs or not self.model.training or not self.defers(inputs):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, outputs = self.loss_and_outputs(model, inputs, num_items_in_batch)
        if self.args.average_tokens_across_devices:  # the count is of all processes, and DDP averages over them
            loss = loss * self.accelerator.num_processes
        sums = [outputs.label_mask.sum(), outputs.entropy.detach().sum(), outputs.is_top1.sum()]
        sums = torch.stack([value.double() for value in sums])
        self._sums = sums if self._sums is None else self._sums + sums
        self._seen += inputs["position_ids"].shape[-1]
        return loss

    def log(self, logs, start_time=None):
        if self._sums is not None and self.model.training:
            import torch

            here = torch.cat([self._sums, self._sums.new_tensor([self._seen])])
            tokens, entropy, right, seen = self.accelerator.reduce(here, "sum").tolist()
            self._total_train_tokens += int(seen)
            self._metrics["train"].update(
                entropy=[entropy / max(tokens, 1)],
                mean_token_accuracy=[right / max(tokens, 1)],
                num_tokens=[self._total_train_tokens],
            )
            self._sums, self._seen = None, 0
        super().log(logs, start_time)
