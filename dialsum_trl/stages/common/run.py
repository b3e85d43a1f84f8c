"""`Run`: what the six training jobs share, in the order in which they use it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from transformers import TrainerCallback

from dialsum_trl.core.console import table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments
from dialsum_trl.data.splits import read_rows
from dialsum_trl.models.adapter_settings import keep_lora, use_adapter_settings
from dialsum_trl.prompts.tokenizer import tokenizer_of
from dialsum_trl.sharing.push import plan_push
from dialsum_trl.sharing.record import run_record
from dialsum_trl.sharing.save import save_adapter
from dialsum_trl.training.batches import batch_arithmetic
from dialsum_trl.training.checked import RunInfo
from dialsum_trl.training.checkpoints.choose import prepare_output_dir
from dialsum_trl.training.checkpoints.same_run import describe, same_run
from dialsum_trl.training.optional import check_optional
from dialsum_trl.training.precision import match_precision
from dialsum_trl.training.trackers import check_trackers

_watching: ContextVar[tuple[TrainerCallback, ...]] = ContextVar("watching", default=())


@contextmanager
def watched_by(*callbacks: TrainerCallback) -> Iterator[None]:
    """Trainings in this block have these callbacks too."""
    token = _watching.set(callbacks)
    try:
        yield
    finally:
        _watching.reset(token)


class Run:
    """A training run: `open`, rows and tokenizer, `describe`, a model and a trainer, `train`, `save`, `close`.

    Args:
        method: how it trains, for the record and the card ("SFT", "DPO", ...).
        settings: what `settings.resolve` returned: one instance per group of flags, the trainer's arguments last.
    """

    def __init__(self, method: str, settings: tuple):
        self.method = method
        *self.groups, self.args = settings
        self.model_args: ModelArguments = self._group(ModelArguments)
        self.prompt: PromptArguments = self._group(PromptArguments) or PromptArguments()
        self.data: DataArguments | None = self._group(DataArguments)
        self.checkpoint: str | None = None  # to continue from, after `open`
        self.seconds = 0.0  # of training
        self._result = None

    def _group(self, kind: type):
        return next((group for group in self.groups if isinstance(group, kind)), None)

    def open(self, effective_batch_size: int | None = None) -> None:
        """Checks where the run writes and what it continues from, and plans its push, before anything is read.

        Args:
            effective_batch_size: rows per optimizer step, from which accumulation is derived; None: the trainer's own.

        Raises:
            InputError: an unknown tracker, a folder of another run, a push that would fail, rows that do not divide.
        """
        check_trackers(self.args.report_to)
        check_optional(self.args)
        self.checkpoint = prepare_output_dir(self.args)
        self._push = plan_push(self.args, self.model_args)
        if effective_batch_size is not None:
            batch_arithmetic(self.args, effective_batch_size)

    def rows(self):
        """Training and dev rows (`data.splits.read_rows`); dev is None where there is none."""
        return read_rows(self.data)

    def load_tokenizer(self, chat_template_path: str | None = None):
        """The model's tokenizer with its chat template, or with another one."""
        return tokenizer_of(self.model_args, self.prompt, chat_template_path)

    def describe(self, tokenizer, rows, examples, dev_rows, names: list[str]) -> RunInfo:
        """What the run is, for its checkpoints and its record. Call it before `args` is fitted to the machine.

        Args:
            rows, dev_rows: as they were read.
            examples: what the trainer is given: token ids, or prompts.
            names: of the rows.

        Raises:
            InputError: the checkpoint to continue from belongs to another run.
        """
        self.tokenizer = tokenizer
        settings = describe(self.args, self.groups, tokenizer, rows, examples, dev_rows)
        same_run(self.checkpoint, settings, names)
        record = partial(
            run_record,
            tokenizer=tokenizer,
            model_args=self.model_args,
            prompt=self.prompt,
            data=self.data,
            method=self.method,
        )
        return RunInfo(settings, record, names)

    def train(self, trainer) -> None:
        """Trains to the end, from the checkpoint if there is one."""
        for callback in _watching.get():
            trainer.add_callback(callback)
        started = time.time()
        self._result = trainer.train(resume_from_checkpoint=self.checkpoint)
        self.seconds = time.time() - started

    def save(self, trainer, metrics: dict) -> None:
        """Leaves weights, tokenizer, record, curve and card in `output_dir`."""
        trainer.save_state()
        save_adapter(trainer, self.tokenizer, self.model_args, metrics)

    def fit(self, trainer, evaluate: bool) -> dict:
        """`train`, a last evaluation if asked for, `save`; returns the evaluation's metrics."""
        self.train(trainer)
        metrics = trainer.evaluate() if evaluate else {}
        self.save(trainer, metrics)
        return metrics

    def train_loss(self) -> dict:
        """A row of the closing table: the mean loss of the steps of this process, None where none was left to make."""
        since = " since the checkpoint" if self.checkpoint else ""
        return {f"train loss{since}": round(self._result.training_loss, 4) or None}

    def costs(self) -> dict:
        """Rows of the closing table: seconds of training and the highest GPU memory reserved by this process."""
        peak = torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else 0.0
        return {"seconds": round(self.seconds, 1), "peak GPU memory, GiB": round(peak, 2)}

    def close(self, title: str, figures: dict) -> dict:
        """Prints the closing table, pushes if that was planned, and returns the figures."""
        table(title, list(figures.items()))
        self._push()
        return figures


def continue_adapter(values: dict, given: set[str]) -> None:
    """`adjust` of stages that train an SFT adapter further: base, dtype and prompt style are the adapter's."""
    if not values["adapter_path"]:
        raise InputError("--adapter_path: give the SFT adapter to start from, outputs/sft_...")
    use_adapter_settings(values, given)
    keep_lora(values, given)
    match_precision(values, given)
