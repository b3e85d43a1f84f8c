"""The fast path trains as the padded one: same rows a step, same losses, same adapters; so do evaluation and resume."""

from functools import partial

import pytest
import torch
import trl
from datasets import Dataset
from transformers import AutoTokenizer

from dialsum_trl.kernels.fused.attach import decoder_layers
from dialsum_trl.training.packing import deferred, rehearsal
from dialsum_trl.training.packing.prepare import prepare
from dialsum_trl.training.sft_trainer import SFTTrainer
from tests.conftest import TINY
from tests.fused_models import arguments, documents, lora_model


def rows(count: int = 22):
    return Dataset.from_list(documents([8 + 5 * (i % 7) for i in range(count)]))


def train(folder, fast: bool, dropout: float = 0.0, resume=None, trls_loss: bool = False, **more):
    data, args, model = (
        rows(),
        arguments(folder, **more),
        lora_model(dropout=dropout, vocabulary=2560),
    )  # the tokenizer's
    path = None
    if fast:
        path, _ = prepare(model, args, [len(ids) for ids in data["input_ids"]], 0, "none", None)
    else:
        model.set_attn_implementation("sdpa")
    trainer = (partial(SFTTrainer, packing=path) if fast else trl.SFTTrainer)(
        model=model,
        args=args,
        train_dataset=data,
        eval_dataset=data.select(range(6)),
        processing_class=AutoTokenizer.from_pretrained(TINY / "llama"),
    )
    if trls_loss:
        trainer.deferred.applies = lambda *_: False
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def logged(trainer, key: str) -> list[float]:
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def adapters(trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters() if p.requires_grad])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast")
    return train(folder / "plain", False), train(folder / "fast", True)


def test_deferred_metrics_are_those_of_trl(tmp_path):
    theirs = train(tmp_path / "trl", True, trls_loss=True, max_steps=3)
    ours = train(tmp_path / "ours", True, max_steps=3)
    for key in ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens"):
        assert len(logged(ours, key)) == 3
        assert logged(ours, key) == pytest.approx(logged(theirs, key), rel=1e-5)


def test_every_step_has_the_loss_and_gradient_norm_of_the_padded_path(both):
    plain, fast = both
    assert len(logged(plain, "loss")) == 6
    assert logged(fast, "loss") == pytest.approx(logged(plain, "loss"), rel=1e-4)
    assert logged(fast, "grad_norm") == pytest.approx(logged(plain, "grad_norm"), rel=1e-4)


def test_the_adapters_end_where_those_of_the_padded_path_end(both):
    plain, fast = (adapters(trainer) for trainer in both)
    assert float((plain - fast).abs().max()) < 1e-5


def test_evaluation_in_packs_has_the_loss_of_padded_evaluation(both):
    plain, fast = both
    assert fast.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-4)


def test_a_resumed_run_ends_at_the_same_adapters_dropout_included(tmp_path):
    whole = train(tmp_path / "whole", True, dropout=0.1, save_strategy="steps", save_steps=4)
    resumed = train(tmp_path / "again", True, dropout=0.1, resume=str(tmp_path / "whole" / "checkpoint-4"))
    assert torch.equal(adapters(whole), adapters(resumed))


def test_the_longest_pack_is_rehearsed_once_after_the_first_step(tmp_path, monkeypatch):
    packs, forward = [], deferred.loss_and_outputs

    def seen(model, inputs, tokens):
        packs.append(inputs["input_ids"].shape[-1])
        return forward(model, inputs, tokens)

    monkeypatch.setattr(deferred, "loss_and_outputs", seen)
    monkeypatch.setattr(rehearsal, "loss_and_outputs", seen)
    monkeypatch.setattr(rehearsal.ScheduleCallback, "rehearses_on", ("cpu",))
    trainer = train(tmp_path, True)
    schedule = trainer.packing.schedule
    micro_batches = trainer.args.gradient_accumulation_steps
    epochs = trainer.state.num_train_epochs
    assert packs[micro_batches] == schedule.largest(epochs)
    assert len(packs) == 1 + epochs * schedule.batches_per_epoch()


def test_a_rehearsal_leaves_no_trace(tmp_path, monkeypatch):
    silent = train(tmp_path / "silent", True, dropout=0.3)
    monkeypatch.setattr(rehearsal.ScheduleCallback, "rehearses_on", ("cpu",))
    rehearsed = train(tmp_path / "rehearsed", True, dropout=0.3)
    for key in ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens"):
        assert logged(rehearsed, key) == logged(silent, key)
    assert torch.equal(adapters(rehearsed), adapters(silent))


def test_what_cannot_be_fused_is_packed_all_the_same(tmp_path):
    model = lora_model(target_modules=["q_proj", "v_proj"])
    args = arguments(tmp_path)
    path, rows = prepare(model, args, [20] * 8, 0, "none", None)
    assert not path.fused and path.plan is None
    assert rows == "packed, plain layers: not every projection has a LoRA adapter"
    assert args.gradient_accumulation_steps == 2 and path.schedule.rows_per_step == 8


@pytest.mark.parametrize(
    ("failure", "words"),
    [(RuntimeError("no C compiler"), "do not run here (RuntimeError: no C compiler)"), (0.3, "differs from the plain")],
)
def test_layers_that_do_not_run_or_agree_are_put_back_with_one_line(tmp_path, monkeypatch, failure, words):
    def check(layers):
        if isinstance(failure, Exception):
            raise failure
        return failure

    monkeypatch.setattr("dialsum_trl.training.packing.prepare.check", check)
    monkeypatch.setattr("dialsum_trl.training.packing.prepare.compile_errors", lambda: (RuntimeError,))
    model = lora_model()
    path, rows = prepare(model, arguments(tmp_path), [20] * 8, 0, "none", None)
    assert not path.fused and words in rows
    assert all("forward" not in vars(layer) for layer in decoder_layers(model))
