"""TRL's loss without synchronization: entropy and accuracy stay on the device until they are logged.

`SFTTrainer.compute_loss` reads them on the host, gathered over all processes, between the forward and the backward pass
of every micro-batch. The device then waits for the host, which has to launch the whole backward pass first.
"""

import torch


def loss_and_outputs(model, inputs, tokens):
    """The mean over `tokens` supervised tokens of a step, and the model's outputs with what metrics need."""
    outputs = model(**inputs, use_cache=False, fused_lm_head=True)
    return -outputs.log_probs.sum() / torch.as_tensor(tokens).clamp(min=1), outputs


class DeferredMetrics:
    """The loss of TRL's `SFTTrainer` for plain cross-entropy training; metrics are summed on the device.

    `entropy` and `mean_token_accuracy` become means over the supervised tokens between two log lines, where TRL takes
    the mean over micro-batches.
    """

    sums = None  # float64 (3,): supervised tokens, summed entropy, tokens predicted right, of this process
    seen = 0  # tokens of this process since the last log line

    @staticmethod
    def applies(trainer, inputs) -> bool:
        """Whether these rows train with this loss, and not with TRL's own."""
        return (
            trainer.args.loss_type == "nll" and trainer.compute_loss_func is None and trainer.label_smoother is None
            and not trainer.aux_loss_enabled and "position_ids" in inputs
        )  # fmt: skip

    def loss(self, model, inputs, tokens):
        """The mean over the `tokens` supervised tokens of a step."""
        loss, outputs = loss_and_outputs(model, inputs, tokens)
        sums = [outputs.label_mask.sum(), outputs.entropy.detach().sum(), outputs.is_top1.sum()]
        sums = torch.stack([value.double() for value in sums])
        self.sums = sums if self.sums is None else self.sums + sums
        self.seen += inputs["position_ids"].shape[-1]
        return loss

    def read(self, accelerator) -> tuple[dict, int]:
        """The metrics since the last reading, over all processes, and the tokens seen; starts anew."""
        here = torch.cat([self.sums, self.sums.new_tensor([self.seen])])
        tokens, entropy, right, seen = accelerator.reduce(here, "sum").tolist()
        self.sums, self.seen = None, 0
        tokens = max(tokens, 1)
        return {"entropy": entropy / tokens, "mean_token_accuracy": right / tokens}, int(seen)
