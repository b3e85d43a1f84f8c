"""`--report_to`: losses and ROUGE reach a tracker. TensorBoard's format stands for all: it needs no network."""

import struct

from dialsum_trl.samples import _markdown
from dialsum_trl.sft import train_sft
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


def test_the_tracker_gets_losses_rouge_and_summaries_at_every_evaluation(toy_base, tmp_path):
    flags = (
        f"--train_file {TINY / 'data' / 'dev.csv'} --eval_file {TINY / 'data' / 'test.csv'} --drop_shared_rows true "
    )
    flags += (
        f"--model_name_or_path {toy_base} --output_dir {tmp_path} --use_cpu true --dtype float32 --quantization none "
    )
    flags += (
        "--max_steps 2 --effective_batch_size 2 --per_device_train_batch_size 2 --logging_steps 1 --optim adamw_torch "
    )
    flags += "--eval_strategy steps --eval_steps 1 --save_strategy no --rouge_rows 2 --rouge_max_new_tokens 4 "
    flags += "--report_to tensorboard"
    train_sft({}, flags.split())
    found = events(tmp_path)
    assert [step for step, _ in found["train/loss"]] == [1, 2]
    assert [step for step, _ in found["eval/rouge_mean"]][:2] == [1, 2]
    assert {"eval/loss", "eval/rouge1", "eval/rouge2", "eval/rougeL"} <= found.keys()
    [(step, table), *_] = found["eval/summaries/text_summary"]
    assert step == 1
    assert table.startswith("| reference | summary |\n|---|---|\n| #Person")
    assert len(table.splitlines()) == 4


def test_bars_and_line_breaks_do_not_break_the_table():
    assert _markdown([["a|b", "c\nd"]]).splitlines()[-1] == "| a\\|b | c d |"
