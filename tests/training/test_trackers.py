"""`--report_to`: losses and ROUGE reach a tracker. All offline; wandb and trackio where they are installed."""

import json
import sqlite3
import struct
from importlib.util import find_spec

import pytest

from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.trackers import _markdown
from tests.conftest import TINY


def events(folder) -> dict[str, list[tuple]]:
    """`{tag: [(step, number or text), ...]}` of every event file below a folder.

    A TFRecord is length, checksum, data, checksum.
    """
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple]] = {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        content, at = file.read_bytes(), 0
        while at < len(content):
            [size] = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += size + 16
            for value in event.summary.value:
                text = value.tensor.string_val
                found.setdefault(value.tag, []).append((event.step, text[0].decode() if text else value.simple_value))
    return found


def train(toy_base, output, tracker):
    """Two steps with an evaluation of two rows after each."""
    flags = (
        f"--train_file {TINY / 'data' / 'dev.csv'} --eval_file {TINY / 'data' / 'test.csv'} --drop_shared_rows true "
    )
    flags += (
        f"--model_name_or_path {toy_base} --output_dir {output} --use_cpu true --dtype float32 --quantization none "
    )
    flags += (
        "--max_steps 2 --effective_batch_size 2 --per_device_train_batch_size 2 --logging_steps 1 --optim adamw_torch "
    )
    flags += "--eval_strategy steps --eval_steps 1 --save_strategy no --rouge_rows 2 --rouge_max_new_tokens 4 "
    train_sft({}, f"{flags} --report_to {tracker}".split())


def test_the_tracker_gets_losses_rouge_and_summaries_at_every_evaluation(toy_base, tmp_path):
    train(toy_base, tmp_path, "tensorboard")
    found = events(tmp_path)
    assert [step for step, _ in found["train/loss"]] == [1, 2]
    assert [step for step, _ in found["eval/rouge_mean"]][:2] == [1, 2]
    assert {"eval/loss", "eval/rouge1", "eval/rouge2", "eval/rougeL"} <= found.keys()
    [(step, table), *_] = found["eval/summaries/text_summary"]
    assert step == 1
    assert table.startswith("| reference | summary |\n|---|---|\n| #Person")
    assert len(table.splitlines()) == 4


def test_wandb_offline_gets_losses_rouge_and_a_table_of_summaries(toy_base, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path)), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    train(toy_base, tmp_path / "run", "wandb")
    logged = dict(wandb.run.summary)
    assert {"train/loss", "eval/loss", "eval/rouge_mean", "eval/rouge1"} <= logged.keys()
    wandb.finish()
    tables = sorted((tmp_path / "wandb").glob("offline-run-*/files/media/table/eval/summaries_*.table.json"))
    assert len(tables) == 3  # after each step, and at the end
    table = json.loads(tables[0].read_text(encoding="utf-8"))
    assert table["columns"] == ["reference", "summary"] and len(table["data"]) == 2
    assert table["data"][0][0].startswith("#Person")


def test_trackio_gets_losses_rouge_and_a_table_of_summaries_in_one_run(toy_base, tmp_path, monkeypatch):
    if find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    train(toy_base, tmp_path / "run", "trackio --run_name mine")
    [database] = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select run_name, metrics from metrics").fetchall()
    logged = {key: value for _, metrics in rows for key, value in json.loads(metrics).items()}
    assert {run for run, _ in rows} == {"mine"}
    assert {"train/loss", "eval/loss", "eval/rouge_mean"} <= logged.keys()
    assert [row["reference"].startswith("#Person") for row in logged["eval/summaries"]["_value"]] == [True, True]


def test_bars_and_line_breaks_do_not_break_the_table():
    assert _markdown([["a|b", "c\nd"]]).splitlines()[-1] == "| a\\|b | c d |"
