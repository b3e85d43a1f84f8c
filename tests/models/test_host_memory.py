"""A base is quantized tensor by tensor: its files are never held in main memory as a whole."""

import pytest
from safetensors import safe_open
from transformers import modeling_utils

from dialsum_trl.models import base
from tests.conftest import ROOT


@pytest.mark.parametrize(("quantization", "mapped"), [("4bit", False), ("none", True)])
def test_files_of_a_base_are_mapped_only_where_its_weights_stay_as_they_are(monkeypatch, quantization, mapped):
    opened = []

    def recorded(file, **kwargs):
        opened.append(kwargs.get("backend") != "pread")
        return safe_open(file, **kwargs)

    monkeypatch.setattr(base, "safe_open", recorded)
    monkeypatch.setattr(modeling_utils, "safe_open", recorded)
    base.load_base(str(ROOT / "dialsum_trl/toy/llama"), dtype="float32", quantization=quantization, device="cpu")
    assert opened and set(opened) == {mapped}
