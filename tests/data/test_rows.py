"""The rows of a run: what training and dev share is refused, left out or warned about; how rows divide into steps."""

from types import SimpleNamespace

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import DataArguments
from dialsum_trl.data.splits import read_rows
from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.reward import train_reward
from dialsum_trl.stages.seq2seq import train_seq2seq
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.batches import batch_arithmetic, take_accumulation
from tests import phase3_toys as toys
from tests.row_files import write_csv

TURNS = "#Person1#: 내일 오후 세 시에 도서관 앞에서 만납시다.\n#Person2#: 좋아요, 과제 자료를 모두 챙겨서 나갈게요."


def files(tmp_path, train, dev):
    return dict(
        train_file=str(write_csv(tmp_path / "train.csv", train)), eval_file=str(write_csv(tmp_path / "dev.csv", dev))
    )


def test_shared_rows_are_an_error_that_names_the_flag(tmp_path):
    paths = files(tmp_path, [("t0", TURNS, "약속"), ("t1", "#Person1#: 안녕", "인사")], [("d0", TURNS, "약속")])
    with pytest.raises(InputError, match=r"1 training rows are also evaluation rows .*--drop_shared_rows true"):
        read_rows(DataArguments(**paths))


def test_shared_rows_are_left_out_and_counted_when_asked(tmp_path, capsys):
    paths = files(tmp_path, [("t0", TURNS, "약속"), ("t1", "#Person1#: 안녕", "인사")], [("d0", TURNS, "약속")])
    train, dev = read_rows(DataArguments(**paths, drop_shared_rows=True))
    assert train["fname"][:] == ["t1"] and len(dev) == 1
    assert "1 training rows that are dev rows too were left out, 1 remain" in capsys.readouterr().out


def test_nothing_left_to_train_on_is_an_error(tmp_path):
    paths = files(tmp_path, [("t0", TURNS, "약속")], [("d0", TURNS, "약속")])
    with pytest.raises(InputError, match="every training row is a dev row too"):
        read_rows(DataArguments(**paths, drop_shared_rows=True))


def test_near_copies_are_warned_about(tmp_path, capsys):
    longer = TURNS + "\n#Person1#: 고마워요."
    read_rows(DataArguments(**files(tmp_path, [("t0", longer, "감사")], [("d0", TURNS, "약속")])))
    assert "contamination: 1 training rows are near copies" in capsys.readouterr().out


def test_disjoint_rows_print_nothing(tmp_path, capsys):
    read_rows(DataArguments(**files(tmp_path, [("t0", "#Person1#: 안녕", "인사")], [("d0", TURNS, "약속")])))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("processes", [1, 4])
def test_accumulation_that_was_given_is_taken_on_any_number_of_processes(steps, processes, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    values = dict(gradient_accumulation_steps=steps, per_device_train_batch_size=8, effective_batch_size=64)
    take_accumulation(values, {"gradient_accumulation_steps"})
    args = SimpleNamespace(per_device_train_batch_size=8, gradient_accumulation_steps=1, world_size=processes)
    batch_arithmetic(args, values["effective_batch_size"])
    assert args.gradient_accumulation_steps == steps


@pytest.mark.parametrize("fast", ["true", "false"])
def test_a_step_without_accumulation_sees_the_rows_of_a_device(folders, tmp_path, fast):
    settings = dict(model_name_or_path=folders["base"], dtype="float32", quantization="none", use_cpu="true")
    small = dict(train_file=toys.TRAIN, max_steps=1, save_strategy="no", rouge_rows=0, fast=fast)
    steps = dict(per_device_train_batch_size=2, gradient_accumulation_steps=1, output_dir=tmp_path / "out")
    assert train_sft({}, toys.flags(settings | small | steps))["rows a step"] == 2


@pytest.mark.parametrize("train", [train_sft, train_seq2seq, train_reward, train_dpo])
def test_accumulation_against_the_rows_of_a_step_is_an_error(folders, tmp_path, train):
    settings = dict(model_name_or_path=folders["base"], dtype="float32", use_cpu="true", output_dir=tmp_path / "out")
    settings |= {"adapter_path": folders["sft"], "quantization": "none"} if train is train_dpo else {}
    rows = dict(per_device_train_batch_size=8, gradient_accumulation_steps=2, effective_batch_size=64)
    with pytest.raises(InputError, match="is 16 rows per step, --effective_batch_size 64 another number: leave one"):
        train({}, toys.flags(settings | rows))
