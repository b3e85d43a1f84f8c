"""The encoder-decoder trainer and its metrics."""

import numpy as np
import torch
import transformers

from dialsum_trl.core.console import say
from dialsum_trl.metrics.rouge import RougeConfig, score
from dialsum_trl.training.checked import CheckedTrainer
from dialsum_trl.training.row_loss import RowLoss


def rouge_metrics(tokenizer, references: list[list[str]], config: RougeConfig):
    """`compute_metrics` for generated ids: ROUGE against the dev references, and the share that found no end."""

    def compute(prediction) -> dict[str, float]:
        ids = np.where(prediction.predictions < 0, tokenizer.pad_token_id, prediction.predictions)
        texts = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
        report = score(texts, references, config, bootstrap=0)
        ended = (ids[:, 1:] == tokenizer.eos_token_id).any(1)  # the first may be the end token too: BART's start
        say(f"  {references[0][0]!r} <- {texts[0]!r}")
        return {
            "rouge1": report.rouge1,
            "rouge2": report.rouge2,
            "rougeL": report.rougeL,
            "rouge_mean": report.mean,
            "rouge_sum": report.sum,
            "hit_limit": float(1 - ended.mean()),
        }

    return compute


class Seq2SeqTrainer(RowLoss, CheckedTrainer, transformers.Seq2SeqTrainer):
    """transformers' trainer with checked gradients; it summarizes dev by beam search at each evaluation.

    The loss of an optimizer step is the mean over its supervised tokens, however its rows are divided over accumulation
    and processes. transformers leaves that to models that take `num_items_in_batch`, and assumes that every
    model with `**kwargs` does. BART, T5 and mBART still return the mean of their micro-batch, so loss and gradient grew
    with accumulation and with the number of processes.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # has the tokens of a step counted and passed to `compute_loss`

    def evaluation_loop(self, *args, **kwargs):
        self.gather_function = self.accelerator.gather_for_metrics  # not the rows that fill the last batch up
        return super().evaluation_loop(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if not self.model.training:  # `RowLoss` takes the mean of a process' own batch, not a share of all
            num_items_in_batch = None
        own = inputs["labels"].ne(-100).sum()
        tokens = torch.as_tensor(own if num_items_in_batch is None else num_items_in_batch).clamp(min=1)
        outputs = model(**inputs)
        if self.label_smoother is None:
            mean = torch.where(own > 0, outputs["loss"], 0.0)  # of no token, where all rows fill up: not a number
            loss = mean * own / tokens
        else:
            loss = self.label_smoother(outputs, inputs["labels"], num_items_in_batch=tokens)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the count is of all, and DDP averages over them
        return (loss, outputs) if return_outputs else loss
