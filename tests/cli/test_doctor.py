"""`dialsum doctor`: what it says about this machine, the Hub and a recipe; a token is never shown."""

import re
import subprocess
import sys

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoConfig

from dialsum_trl.cli import doctor
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.resolve import read_recipe
from dialsum_trl.training.estimate import estimate, known_shape, peak_of, row_lengths
from dialsum_trl.training.plan.memory import Shape
from tests.conftest import ROOT, TINY
from tests.hub_server import HubServer

RECIPE = ROOT / "recipes" / "sft_llama3b.py"
TOKEN = "hf_secretsecretsecret"


@pytest.fixture
def hub_url(monkeypatch):
    with HubServer(TOKEN) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server.url


def settings(**changes):
    return read_recipe(RECIPE, None, changes).values


def state(findings, name):
    return next(finding for finding in findings if finding.name == name)


HIDDEN = """
from importlib import metadata
def hide(function):
    def hidden(name, *args):
        if name == "dialsum-trl":
            raise metadata.PackageNotFoundError(name)
        return function(name, *args)
    return hidden
for name in ("distribution", "version", "requires", "metadata", "files"):
    setattr(metadata, name, hide(getattr(metadata, name)))
from dialsum_trl.cli.app import app
app(["doctor"])
"""


def test_a_clone_that_is_not_installed_is_a_finding_beside_the_others():
    """A folder on PYTHONPATH: the code is there, its metadata is not."""
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert re.search("^fail packages  dialsum-trl is not installed here: install it: pip install", done.stdout, re.M)
    assert re.search("^ok   memory", done.stdout, re.M) and done.returncode == 1, done.stderr


def test_the_toy_run_is_ready_on_this_machine(capsys):
    assert doctor.examine(RECIPE, str(ROOT / "recipes" / "demo.yaml"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "ready"
    assert any(line.startswith("ok   packages") and "trl 1.16" in line for line in lines)
    assert any(line.startswith("ok   gpu") and "use_cpu" in line for line in lines)


def test_every_line_of_a_pipe_starts_with_its_state(capsys):
    doctor.examine(RECIPE, str(ROOT / "recipes" / "demo.yaml"))
    *lines, _ = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "fail"}


@pytest.mark.parametrize("given", [
    {"config": "nope.yaml"}, {"train_file": "nope.csv"}, {"columns": {"summary": "target"}},
    {"model_name_or_path": "a/b"},
])  # fmt: skip
def test_what_only_a_recipe_reads_is_refused_without_one(given):
    with pytest.raises(
        InputError, match=r"^--(config|train_file|summary_column|model_name_or_path) \S+: .*name the recipe too"
    ):
        doctor.examine(**given)


def test_a_recipe_without_a_model_is_given_one_by_flag(capsys):
    any_model = ROOT / "recipes" / "sft.py"
    doctor.examine(any_model)
    assert "fail recipe    the recipe has no model of its own: give --model_name_or_path" in capsys.readouterr().out
    doctor.examine(any_model, model_name_or_path=str(ROOT / "dialsum_trl" / "toy" / "llama"))
    assert "ok   rows " in capsys.readouterr().out


def test_a_machine_without_a_gpu_fails_for_a_recipe_that_needs_one(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert not doctor.examine(RECIPE)
    output = capsys.readouterr().out
    assert "fail gpu" in output
    assert "needs a GPU of" in output


@pytest.fixture
def two_cards(monkeypatch):
    """An H100 that is free and a T4 that others fill, as torch would report them."""
    cards = [("NVIDIA H100 80GB HBM3", (9, 0), 79.0, 80.0), ("Tesla T4", (7, 5), 15.0, 15.6)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=0: cards[index][0])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=0: cards[index][1])
    memory = {index: tuple(int(gib * doctor.GIB) for gib in card[2:]) for index, card in enumerate(cards)}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index=0: memory[index])
    return memory


def test_each_gpu_is_listed_with_its_memory_and_bf16(two_cards):
    first, second = doctor.gpus()
    assert first == doctor.Check(
        "gpu", "ok", "0: NVIDIA H100 80GB HBM3, 79.0 of 80.0 GiB free, bf16, flash attention, fused layers"
    )
    assert second.state == "ok"
    assert "no bf16, so bf16 recipes train in fp16, efficient attention, fused layers" in second.text


def test_a_gpu_that_others_fill_is_a_warning(two_cards):
    two_cards[0] = (20 * doctor.GIB, 80 * doctor.GIB)
    assert "nvidia-smi" in doctor.gpus()[0].remedy


def test_several_gpus_are_started_with_ddp(two_cards):
    assert "accelerate_configs/ddp.yaml" in doctor.launcher().text


def test_the_smallest_card_decides_on_memory_and_the_slowest_on_time(two_cards):
    finding = state(doctor.fits("sft", settings(), False), "fits")
    minutes = int(re.search(r"of 15.0 GiB per GPU; about (\d+) min", finding.text)[1])
    two_cards[1] = two_cards[0]
    assert "of 79.0 GiB per GPU" in state(doctor.fits("sft", settings(), False), "fits").text
    assert minutes > 20


def test_a_package_outside_its_bounds_fails(monkeypatch):
    found = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: "1.0.0" if name == "trl" else found(name))
    finding = state(doctor.software(), "packages")
    assert (finding.state, finding.text) == ("fail", "trl 1.0.0 is outside <1.17,>=1.16")


def test_a_hub_that_answers_is_ok(hub_url):
    assert state(doctor.hub(None), "hub") == doctor.Check("hub", "ok", f"{hub_url} answers")


def test_a_hub_that_does_not_answer_only_fails_when_the_model_must_come_from_it(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert state(doctor.hub(None), "hub").state == "warn"
    assert state(doctor.hub("acme/not-in-the-cache"), "hub").state == "fail"
    assert state(doctor.hub(str(TINY)), "hub").state == "warn"


def test_a_token_is_reported_as_present_and_never_shown(hub_url, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    findings = list(doctor.hub(None))
    doctor.show(findings)
    assert state(findings, "token").text == "present (from HF_TOKEN)"
    assert TOKEN not in capsys.readouterr().out


def test_a_missing_token_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert state(doctor.hub(None), "token").state == "warn"


def test_a_recipe_that_fits_says_how_much_memory_it_takes():
    finding = state(doctor.fits("sft", settings(memory_gib=24.0), False), "fits")
    assert finding.state == "ok"
    assert "of 23.3 GiB per GPU" in finding.text


def test_a_recipe_that_does_not_fit_says_what_would(capsys):
    large = settings(memory_gib=5.0, model_name_or_path="MLP-KTLim/llama-3-Korean-Bllossom-8B")
    finding = state(doctor.fits("sft", large, False), "fits")
    assert finding.state == "fail"
    assert finding.remedy == "it would with --model_name_or_path Bllossom/llama-3.2-Korean-Bllossom-3B"


def test_four_bits_are_proposed_first():
    wide = settings(memory_gib=6.0, quantization="none")
    assert state(doctor.fits("sft", wide, False), "fits").remedy == "it would with --quantization 4bit"


def test_rows_are_counted_in_tokens_when_a_file_is_given():
    toy = settings(model_name_or_path=str(TINY / "llama"), train_file=str(TINY / "data" / "dev.csv"))
    lengths = row_lengths(toy["train_file"], toy["model_name_or_path"], {})
    assert len(lengths) == 64
    assert 60 < sum(lengths) / len(lengths) < 300


def test_steps_follow_from_rows_epochs_and_batch():
    shape = known_shape("Qwen/Qwen3-4B-Instruct-2507", "main", 16, "4bit")
    result = estimate(settings(num_train_epochs=2), shape, [300] * 130, 24.0)
    assert result.steps == 6  # 130 rows in steps of 64, twice


def test_hours_grow_on_a_slower_card():
    shape = known_shape("Qwen/Qwen3-4B-Instruct-2507", "main", 16, "4bit")
    result = estimate(settings(), shape, [300] * 640, 24.0)
    assert result.hours(peak_of("NVIDIA A100-SXM4-80GB")) > 2 * result.hours(peak_of("NVIDIA H100"))


def test_the_shape_of_a_local_model_comes_from_its_config(toy_base):
    shape = known_shape(str(toy_base), "main", 16, "4bit")
    assert isinstance(shape, Shape)
    assert (shape.layers, shape.hidden, shape.keys) == (2, 64, 32)


@pytest.mark.parametrize("kind", [None, "gpt_neox", "mixtral", "gemma2"])
def test_a_model_that_is_not_here_or_not_fused_gives_a_warning_and_no_figure(kind, tmp_path):
    if kind:
        AutoConfig.for_model(kind).save_pretrained(tmp_path)
    given = settings(model_name_or_path=str(tmp_path) if kind else "acme/unknown")
    found = list(doctor.fits("sft", given, False))
    assert [(one.name, one.state) for one in found] == [("recipe", "warn")] and "no estimate for" in found[0].text


def test_rows_that_cannot_be_read_are_a_finding_and_not_the_end(tmp_path):
    missing = settings(model_name_or_path=str(TINY / "llama"), train_file=str(tmp_path / "none.csv"))
    shape_known = {**missing, "model_name_or_path": "Qwen/Qwen3-4B-Instruct-2507"}
    finding = state(doctor.fits("sft", shape_known, False), "recipe")
    assert finding.state == "fail"
