"""Cells that hold no text, files in other encodings, columns of other roles: one line each, with what helps."""

import importlib.metadata
import json

import pytest
import torch
from safetensors.torch import save_file

from dialsum_trl.cli import doctor
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import DataArguments
from dialsum_trl.data.cleaning import blank, oddity
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.splits import read_rows
from dialsum_trl.generation.vllm_engine import vllm_problem
from tests.checked_files import GOOD, checked, has
from tests.row_files import write_csv

PLACEHOLDERS = (
    *(
        "nan",
        "NaN",
        "None",
        "(null)",
        "N/A",
        "#N/A",
        "n.a.",
        "-",
        " -- ",
        "<NA>",
        "NaT",
        "\\N",
        "TBD",
        "?",
        "...",
        "[]",
    ),
    *("#VALUE!", "#REF!", "#NAME?", "#DIV/0!", "#NUM!", "없음", "(없음)", "해당 없음", "미정", "ㅡ"),
)
BLANK = ("", " \t", "\u200b", "\u3164", " \u2060\ufeff", "\xad", "\xa0", "\u200e\u200f")


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_a_placeholder_is_no_text(text):
    assert oddity(text).startswith("is a placeholder")


@pytest.mark.parametrize(
    "text",
    ["네.", "", "A - B", "none of them", "날짜: 3-4", "Nancy", "약속은 없음", "1", "ㅋㅋ", "Où êtes-vous? À Köln."],
)
def test_a_text_is_one(text):
    assert oddity(text) is None


@pytest.mark.parametrize("text", BLANK)
def test_a_cell_in_which_nobody_sees_anything_is_empty(tmp_path, text, capsys):
    assert blank(text)
    path = write_csv(tmp_path / "train.csv", [("a", GOOD, text), ("b", GOOD + " 응.", "요약")])
    assert has(checked(capsys, path)[1], "error", "rows without a summary: 1 (a)")
    with pytest.raises(InputError, match="column 'summary': empty"):
        read_dialogues(path)


@pytest.mark.parametrize("korean", ["utf-8", "cp949"])
def test_korean_that_was_read_in_a_western_encoding_is_said(korean):
    assert "Western encoding" in oddity("회의 시간을 묻는다.".encode(korean).decode("latin-1"))


def odd_file(folder):
    rows = [
        ("a", GOOD, "회의 시간을 묻는다."),
        ("b", GOOD + " 응.", "nan"),
        ("c", GOOD + " 아.", "\ufffd\ufffd를 묻는다."),
    ]
    return write_csv(folder / "train.csv", rows)


def test_check_counts_placeholders_and_lost_letters(tmp_path, capsys):
    ready, lines = checked(capsys, odd_file(tmp_path))
    assert ready
    assert has(lines, "warning", "rows whose summary is a placeholder")
    assert has(lines, "warning", "rows whose summary holds U+FFFD")


def test_training_counts_them_too(tmp_path, capsys):
    read_rows(DataArguments(train_file=str(odd_file(tmp_path))))
    output = capsys.readouterr().out
    assert "1 rows whose summary is a placeholder" in output
    assert "1 rows whose summary holds U+FFFD" in output
    assert "the first is b" in output


def test_one_column_cannot_have_two_roles(tmp_path):
    path = write_csv(tmp_path / "rows.csv", [("a", GOOD, "요약")], header=("key", "text", "target"))
    with pytest.raises(InputError, match="--dialogue_column text: is also the --summary_column"):
        read_dialogues(path, columns={"fname": "key", "dialogue": "text", "summary": "text"})


def test_the_end_of_check_says_that_the_copy_is_ready(tmp_path, capsys):
    train = write_csv(tmp_path / "train.csv", [("a", GOOD, "요약"), ("b", "", "요약"), ("c", GOOD + " 아.", "답")])
    dev = write_csv(tmp_path / "dev.csv", [("d", GOOD + " 아.", "다른 답")])
    ready, lines = checked(capsys, train, dev, fix=tmp_path / "fixed.csv")
    assert not ready
    assert lines[-1] == f"{tmp_path / 'fixed.csv'} is ready for training; {train} is not: see the errors above"
    assert checked(capsys, tmp_path / "fixed.csv", dev)[0]


def test_a_copy_beside_a_broken_dev_file_is_not_said_to_be_ready(tmp_path, capsys):
    train = write_csv(tmp_path / "train.csv", [("a", GOOD, "요약"), ("b", "", "요약")])
    dev = write_csv(tmp_path / "dev.csv", [("d", "", "답"), ("e", GOOD + " 아.", "답")])
    _, lines = checked(capsys, train, dev, fix=tmp_path / "fixed.csv")
    assert lines[-1] == "not ready: see the errors above"


def test_a_package_without_metadata_is_a_finding(monkeypatch):
    def hidden(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", hidden)
    found = doctor.software()[-1]
    assert (found.state, found.text) == ("fail", "dialsum-trl is not installed here")
    assert found.remedy == "install it: pip install --constraint constraints.txt --editable ."


LINEAR = "base_model.model.model.layers.0.self_attn.q_proj."


@pytest.mark.parametrize(
    ("settings", "tensors", "reason"),
    [
        ({}, [f"{LINEAR}lora_A.weight", f"{LINEAR}lora_B.weight"], None),
        ({"use_dora": True}, [], "DoRA"),
        ({"modules_to_save": ["lm_head"]}, [], "whole layers"),
        ({"bias": "all"}, [], "biases"),
        ({"r": 1024}, [], "LoRA rank 1024"),
        ({"rank_pattern": {"q_proj": 4}}, [], "another rank or alpha"),
        ({"alpha_pattern": {"q_proj": 4}}, [], "another rank or alpha"),
        ({}, ["base_model.model.lm_head.lora_A.weight"], "more than LoRA on linear layers"),
        ({}, ["base_model.model.model.embed_tokens.lora_embedding_A"], "more than LoRA on linear layers"),
    ],
)
def test_vllm_takes_lora_on_linear_layers_alone(tmp_path, settings, tensors, reason):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, **settings}))
    save_file({name: torch.zeros(1) for name in tensors}, tmp_path / "adapter_model.safetensors")
    problem = vllm_problem(tmp_path)
    assert problem is None if reason is None else reason in problem
