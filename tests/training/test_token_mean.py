"""`eval_loss` is the mean over the supervised tokens of all evaluation rows, whatever batches they come in."""

import copy
import itertools
import json

import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.prompts.text_pairs import encode_text_pairs
from dialsum_trl.stages.seq2seq import train_seq2seq
from dialsum_trl.training.packing.packs import PackCollator
from dialsum_trl.training.sft_trainer import SFTTrainer
from tests.conftest import TINY
from tests.fused_models import arguments, documents, lora_model
from tests.phase3_toys import flags
from tests.row_files import read_csv, sample, write_csv

SIZES = [9, 60, 33, 6, 47, 12, 80]  # tokens: means of batches are far from the mean over tokens


def token_losses(logits, labels, smoothing: float = 0.0) -> torch.Tensor:
    """float64 (tokens,): cross-entropy of the supervised ones of a row; logits (T, V), labels (T,)."""
    kept = labels != -100
    log_probs = logits.double().log_softmax(-1)[kept]
    nll = -log_probs.gather(-1, labels[kept][:, None])[:, 0]
    return (1 - smoothing) * nll - smoothing * log_probs.mean(-1)


def mean(parts: list[torch.Tensor]) -> float:
    return torch.cat(parts).mean().item()


def dialogues() -> list[dict]:
    """Rows whose every token is supervised; nothing predicts the first."""
    return [{**row, "labels": row["input_ids"]} for row in documents(SIZES)]


def sft_trainer(folder, batch_size: int, packed: bool = False):
    model = lora_model(vocabulary=2560)
    if not packed:
        model.set_attn_implementation("sdpa")
    return SFTTrainer(
        model=model,
        args=arguments(folder, per_device_eval_batch_size=batch_size),
        train_dataset=Dataset.from_list(dialogues()),
        eval_dataset=Dataset.from_list(dialogues()),
        processing_class=AutoTokenizer.from_pretrained(TINY / "llama"),
        data_collator=PackCollator(0) if packed else None,
    )


@torch.no_grad()
def by_hand(trainer) -> float:
    model = copy.deepcopy(trainer.model).eval()
    model.set_attn_implementation("sdpa")
    rows = [(torch.tensor(row["input_ids"]), torch.tensor(row["labels"])) for row in dialogues()]
    return mean([token_losses(model(input_ids=ids[None]).logits[0, :-1], labels[1:]) for ids, labels in rows])


@pytest.mark.parametrize(("batch_size", "packed"), itertools.product((1, 2, 3), (False, True)))
def test_the_evaluation_loss_of_sft_is_the_mean_over_all_tokens_at_any_batch_size(tmp_path, batch_size, packed):
    trainer = sft_trainer(tmp_path, batch_size, packed)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(by_hand(trainer), rel=1e-6)


def test_each_evaluation_starts_to_count_anew(tmp_path):
    trainer = sft_trainer(tmp_path, 2)
    before = trainer.evaluate()["eval_loss"]
    few = trainer.evaluate(trainer.eval_dataset.select([1]))["eval_loss"]
    assert few != pytest.approx(before, rel=1e-3) and trainer.evaluate()["eval_loss"] == before


@pytest.mark.parametrize(("batch_size", "packed"), itertools.product((1, 2, 5), (False, True)))
def test_rows_that_fill_the_last_batch_of_several_processes_up_do_not_count(tmp_path, monkeypatch, batch_size, packed):
    """The batches that accelerate gives to each of three processes, evaluated one process after the other."""
    trainer = sft_trainer(tmp_path, batch_size, packed)
    accelerator, total, given = type(trainer.accelerator), 0, 0
    monkeypatch.setattr(accelerator, "num_processes", 3)
    trainer.model.eval()
    for process in range(3):
        monkeypatch.setattr(accelerator, "process_index", process)
        plain = torch.utils.data.DataLoader(dialogues(), batch_size, collate_fn=trainer.data_collator)
        for batch in prepare_data_loader(plain, num_processes=3, process_index=process):
            trainer.prediction_step(trainer.model, batch, prediction_loss_only=True)
            given += batch_size
        total = total + trainer._loss_and_tokens
        trainer._loss_and_tokens = 0
    loss, tokens = total.tolist()
    assert given > len(SIZES) and tokens == sum(size - 1 for size in SIZES)
    assert loss / tokens == pytest.approx(by_hand(trainer), rel=1e-6)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("rows"), train=16, dev=5)


def train_bart(rows, output, **settings) -> list[float]:
    """The evaluation losses of a run of one step."""
    common = {"model_name_or_path": TINY / "bart", "train_file": rows / "train.csv", "eval_file": rows / "dev.csv"}
    common |= {"use_cpu": True, "dtype": "float32", "max_steps": 1, "effective_batch_size": 4, "save_strategy": "no"}
    common |= {"disable_tqdm": True, "generation_max_length": 8, "per_device_train_batch_size": 4}
    train_seq2seq({}, flags({**common, "output_dir": output, **settings}))
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["eval_loss"] for entry in log if "eval_loss" in entry]


@torch.no_grad()
def bart_by_hand(rows, folder, smoothing: float) -> float:
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    encoded, _ = encode_text_pairs(
        read_dialogues(rows / "dev.csv"), AutoTokenizer.from_pretrained(folder), 1024, 200, ""
    )
    parts = []
    for row in encoded:
        labels = torch.tensor(row["labels"])
        logits = model(input_ids=torch.tensor([row["input_ids"]]), labels=labels[None]).logits[0]
        parts.append(token_losses(logits, labels, smoothing))
    return mean(parts)


@pytest.mark.parametrize("generates", [True, False])
@pytest.mark.parametrize(("batch_size", "smoothing"), [(1, 0.0), (2, 0.0), (3, 0.1)])
def test_the_evaluation_loss_of_an_encoder_decoder_is_the_mean_over_all_tokens_at_any_batch_size(
    rows, tmp_path, batch_size, smoothing, generates
):
    settings = {"per_device_eval_batch_size": batch_size, "label_smoothing_factor": smoothing}
    (found,) = train_bart(rows, tmp_path / "out", predict_with_generate=generates, **settings)
    assert found == pytest.approx(bart_by_hand(rows, tmp_path / "out", smoothing), rel=1e-6)


def test_one_dev_row_without_a_number_ends_an_encoder_decoder_also_where_trainers_would_leave_it_out(rows, tmp_path):
    """Its dialogue reaches positions whose embeddings are NaN; `logging_nan_inf_filter` is transformers' default."""
    model = AutoModelForSeq2SeqLM.from_pretrained(TINY / "bart")
    model.model.encoder.embed_positions.weight.data[902:] = torch.nan
    model.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(TINY / "bart").save_pretrained(tmp_path / "base")
    _, *table = read_csv(rows / "dev.csv")
    table[2][1] = "\n".join(f"#Person1#: 이야기를 {number}번 계속합니다." for number in range(200))
    write_csv(tmp_path / "dev.csv", table)
    with pytest.raises(TrainingError, match="evaluation loss nan"):
        train_bart(
            rows, tmp_path / "out", model_name_or_path=tmp_path / "base", eval_file=tmp_path / "dev.csv",
            per_device_eval_batch_size=1,
        )  # fmt: skip
