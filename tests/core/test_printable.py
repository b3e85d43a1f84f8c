"""What files say reaches the terminal as text: no control character acts, no markup is followed, no run ends by it."""

import subprocess
import sys

import pytest

from dialsum_trl.cli import preview
from dialsum_trl.cli.check import check_files
from dialsum_trl.core.console import printable, say, table
from tests.checked_files import GOOD
from tests.conftest import ROOT, TINY
from tests.row_files import write_csv

ESCAPES = "\x1b[2J\x1b]0;x\x07\u202e"
WRITTEN = "\\x1b[2J\\x1b]0;x\\x07\\u202e"
MARKUP = ["[/b]", "[bold]", "[link=x]", ":smile:"]
HARMLESS = "한글 ─█… \U0001f600 \U0001f468\u200d\U0001f469 ❤\ufe0f\u00a0\u3000 \U0001fae8"


def lines_of(captured):
    assert not any(c in captured.out + captured.err for c in "\x1b\x07\u202e\r")
    return captured.out.splitlines()


def test_control_format_and_half_characters_are_written_out():
    assert printable(ESCAPES + "\ta\nb\rc\x9b\u2028\ud800") == WRITTEN + "\\ta\\nb\\rc\\x9b\\u2028\\ud800"
    assert printable("a\nb", keep="\n") == "a\nb"


def test_korean_emoji_and_box_drawing_stay(capsys):
    assert printable(HARMLESS) == HARMLESS
    say(HARMLESS)
    assert capsys.readouterr().out == HARMLESS + "\n"


def test_say_prints_its_lines_and_nothing_that_acts(capsys):
    say(f"one\n{ESCAPES}", ROOT, 3)
    assert lines_of(capsys.readouterr()) == ["one", f"{WRITTEN} {ROOT} 3"]


@pytest.mark.parametrize("text", MARKUP)
def test_a_table_shows_markup_as_it_stands(capsys, text):
    table(f"title {text}", [(text, 0.123456), (f"b{text}", 2)], (f"kind {text}", "pairs"))
    title, _, header, _, first, second = [line.strip() for line in lines_of(capsys.readouterr()) if line][:6]
    assert (title, header.split("  ")[0]) == (f"title {text}", f"kind {text}")
    assert first.split() == [text, "0.1235"] and second.split() == [f"b{text}", "2"]


def test_a_figure_that_was_not_measured_is_a_dash_in_a_table(capsys):
    table("", [("best step", None)])
    assert capsys.readouterr().out.split() == ["best", "step", "-"]


@pytest.mark.parametrize("text", [ESCAPES, MARKUP[0]])
def test_check_shows_fnames_masks_and_headers_as_text(tmp_path, capsys, text):
    rows = [(f"a{text}", GOOD, "요약", ""), (f"a{text}", GOOD, "#Person7# 요약", ""), (f"c{text}", "", "요약", "")]
    train = write_csv(tmp_path / "train.csv", rows, ("fname", "dialogue", "summary", f"x{text}"))
    dev = write_csv(tmp_path / "dev.csv", [(f"z{text}", GOOD, "요약")])
    check_files([train, dev], fix=tmp_path / f"fixed {text.strip(ESCAPES)[:1].strip('/')}.csv")
    printed = lines_of(capsys.readouterr())
    for level, start in (("error", "a"), ("error", "c")):
        assert any(line.startswith(level) and f"({start}{printable(text)})" in line for line in printed)
    assert any(f"a{printable(text)} and z{printable(text)}" in line for line in printed)
    assert any(line.endswith(f"x{printable(text)}") for line in printed)


@pytest.mark.parametrize("text", [ESCAPES, MARKUP[0]])
@pytest.mark.parametrize("tokens", [False, True])
def test_preview_shows_fname_and_dialogue_as_text(tmp_path, capsys, text, tokens):
    train = write_csv(tmp_path / "train.csv", [(f"a{text}", f"{GOOD} {text}", f"인사를 한다.{text}")])
    settings = {"model_name_or_path": str(TINY / "llama"), "train_file": str(train)}
    preview.show_row(ROOT / "recipes" / "sft_llama3b.py", "0", None, settings, tokens)
    first, *others = lines_of(capsys.readouterr())
    assert first.startswith(f"row a{printable(text)} (number 0 from 0): ")
    assert tokens or any(line.startswith("learned") and printable(text) in line for line in others)


OLD_NAMES = {
    "peft and TRL": (
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)\n"
        "model = LlamaForCausalLM(LlamaConfig(**sizes))\n"
        "model.gradient_checkpointing_enable(); model.is_gradient_checkpointing; model.gradient_checkpointing_disable()"
    ),
    "DeepSpeed and accelerate": (
        "import tempfile, torch\n"
        "store = torch.distributed.FileStore(tempfile.mkdtemp() + '/store', 1)\n"
        "torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)\n"
        "torch.distributed.all_gather_into_tensor(torch.zeros(2), torch.ones(2))\n"
        "torch.distributed.reduce_scatter_tensor(torch.zeros(2), torch.ones(2))\n"
        "torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2), broadcast_buffers=False)\n"
        "torch.distributed.destroy_process_group()"
    ),
    "NCCL's barrier": (  # torch's own words: there is no NCCL without a GPU
        "import warnings\n"
        "warnings.warn('barrier(): using the device under current context. You can specify `device_id`')"
    ),
}


@pytest.mark.parametrize("caller", OLD_NAMES)
def test_what_libraries_say_to_one_another_is_no_news_for_a_user(caller):
    code = f"from dialsum_trl.core.console import quiet_libraries; quiet_libraries()\n{OLD_NAMES[caller]}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "FutureWarning" not in result.stderr and "UserWarning" not in result.stderr
