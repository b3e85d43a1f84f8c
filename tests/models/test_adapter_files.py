"""What a folder must hold to be an adapter, a base or a reward model, told from its files before anything is loaded."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from dialsum_trl.core.errors import InputError, one_line
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.adapters import check_adapter_values, load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.models.file_names import CONFIG, WEIGHTS
from dialsum_trl.models.files import check_adapter_files, check_model_files, tensor_shapes
from dialsum_trl.models.record import read_scale
from dialsum_trl.rl.adapter_roles import add_reward


@pytest.fixture
def adapter(trained_adapter, tmp_path):
    return shutil.copytree(trained_adapter, tmp_path / "adapter")


def test_a_sound_adapter_and_a_sound_base_pass(adapter, toy_base):
    assert check_adapter_files(adapter)["r"] == 16
    check_adapter_values(adapter)
    check_model_files(toy_base)
    shapes = tensor_shapes(adapter / WEIGHTS)
    assert len(shapes) == 2 * 2 * 7 and all(16 in shape for shape in shapes.values())


def test_ranks_that_differ_by_layer_are_accepted(adapter):
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**config, "r": 4, "rank_pattern": {"q_proj": 16}}))
    assert check_adapter_files(adapter)["r"] == 4


def test_a_reward_adapter_is_checked_as_every_other(adapter, toy_base):
    model = load_adapter(AutoModelForCausalLM.from_pretrained(toy_base), adapter, trainable=True)
    with pytest.raises(InputError, match="has no score head"):
        add_reward(model, adapter)
    (adapter / WEIGHTS).write_bytes(b"short")
    with pytest.raises(InputError, match="--reward_adapter_path"):
        add_reward(model, adapter)


@pytest.mark.parametrize(
    "scale",
    [{}, {"score_mean": 1.0}, {"score_mean": "a", "score_std": 1.0}, {"score_mean": 0.0, "score_std": 0.0}],
)  # fmt: skip
def test_a_scale_that_is_none_is_an_error(scale, tmp_path):
    (tmp_path / "scale.json").write_text(json.dumps(scale))
    with pytest.raises(InputError, match="score_mean and score_std must be numbers"):
        read_scale(tmp_path / "scale.json")


def test_a_full_gpu_is_no_damaged_file(toy_base, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(torch.OutOfMemoryError):
        load_base(str(toy_base), dtype="float32", quantization="none")


def test_a_byte_order_mark_before_json_is_accepted(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json", "x") == {"a": 1}


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a\n  b\r\nc", "a b c"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb\ud800", "a\\u202eb\\ud800"),
        ("한글 \U0001f600", "한글 \U0001f600"),
    ],
)
def test_messages_are_one_printable_line(message, line):
    assert one_line(message) == str(InputError(message)) == line


def test_a_message_is_shortened_in_its_middle():
    text = one_line("a" * 5000 + "remedy")
    assert len(text) < 1600 and text.startswith("aaa") and text.endswith("remedy")
