"""`--report_to`: losses and ROUGE reach a tracker. TensorBoard's format stands for all: it needs no network."""

import struct

from dialsum_trl.sft import train_sft
from tests.conftest import TINY


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    """`{tag: [(step, value), ...]}` of every event file below a folder (TFRecord: length, checksum, data, checksum)."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        content, at = file.read_bytes(), 0
        while at < len(content):
            [size] = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += size + 16
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_the_tracker_gets_losses_and_rouge_at_every_evaluation(toy_base, tmp_path):
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
    found = scalars(tmp_path)
    assert [step for step, _ in found["train/loss"]] == [1, 2]
    assert [step for step, _ in found["eval/rouge_mean"]][:2] == [1, 2]
    assert {"eval/loss", "eval/rouge1", "eval/rouge2", "eval/rougeL"} <= found.keys()
