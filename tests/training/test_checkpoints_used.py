"""A checkpoint is used like the folder of its finished run: with its base, prompt style, dtype and quantization."""

import json
import shutil

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.adapter_settings import adapter_settings, model_settings
from dialsum_trl.models.file_names import MANIFEST, RUN_FILE
from dialsum_trl.models.soup import soup
from dialsum_trl.stages.jobs.preferences import check_unseen
from dialsum_trl.stages.seq2seq import train_seq2seq
from tests import phase3_toys as toys
from tests.conftest import TINY
from tests.training import test_checkpoints as runs

rows = runs.rows  # fixture
STYLE = dict(prompt_style="instruction", max_steps=2, save_steps=1, eval_strategy="no", load_best_model_at_end="false")


@pytest.fixture(scope="module")
def tuned(toy_base, rows, tmp_path_factory):
    """A run under the instruction prompt, with its base named by a relative path; copy it before changing it."""
    output = tmp_path_factory.mktemp("tuned") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toy_base.parent)
        runs.train(toy_base.name, rows, output, **STYLE)
    return output


def without_record(checkpoint, target):
    """The checkpoint as another tool would leave it."""
    shutil.copytree(checkpoint, target)
    (target / RUN_FILE).unlink()
    return target


def test_a_checkpoint_is_used_as_its_finished_run(tuned):
    assert adapter_settings(str(tuned / "checkpoint-2")) == adapter_settings(str(tuned))
    assert adapter_settings(str(tuned))["prompt_style"] == "instruction"


def test_the_record_of_a_checkpoint_is_sealed_and_has_no_scores(tuned):
    record = json.loads((tuned / "checkpoint-2" / RUN_FILE).read_text(encoding="utf-8"))
    assert (record["metrics"], record["evaluation"]) == ({}, None) and record["settings"]["optimizer_steps"] == 2
    assert RUN_FILE in json.loads((tuned / "checkpoint-2" / MANIFEST).read_text())


def test_a_checkpoint_that_says_nothing_of_its_run_is_told(tuned, tmp_path, capsys):
    checkpoint = without_record(tuned / "checkpoint-2", tmp_path / "checkpoint-2")
    assert adapter_settings(str(checkpoint)).keys() == {"model_name_or_path"}
    assert "does not say how it was trained: give --prompt_style, --dtype and --quantization" in capsys.readouterr().out


def test_a_soup_of_checkpoints_is_no_checkpoint_and_is_used_as_they_are(tuned, toy_base, tmp_path, monkeypatch):
    monkeypatch.chdir(toy_base.parent)
    mixed = soup([tuned / "checkpoint-2", tuned / "checkpoint-1"], tmp_path / "soup")
    assert not {MANIFEST, "run.json", "trainer_state.json"} & {path.name for path in mixed.iterdir()}
    assert not [path for path in mixed.iterdir() if path.suffix in (".pt", ".pth", ".bin")]
    assert adapter_settings(str(mixed)) == adapter_settings(str(tuned))


def test_a_checkpoint_of_full_fine_tuning_is_loaded_as_it_was_trained(toy_base, rows, tmp_path):
    runs.train(toy_base, rows, tmp_path / "out", **STYLE, use_peft="false", learning_rate=1e-3)
    checkpoint = tmp_path / "out" / "checkpoint-2"
    wanted = {"dtype": "float32", "quantization": "none", "prompt_style": "instruction"}
    settings = model_settings(str(checkpoint))
    assert {name: settings[name] for name in wanted} == wanted


def test_pairs_are_not_sampled_on_rows_that_a_checkpoint_was_trained_on(tuned, tmp_path, capsys):
    with pytest.raises(InputError, match=r"checkpoint-2 was trained on train.csv"):
        check_unseen(str(tuned / "checkpoint-2"), "elsewhere/train.csv")
    check_unseen(str(without_record(tuned / "checkpoint-2", tmp_path / "checkpoint-2")), "elsewhere/train.csv")
    assert "does not say on which rows it was trained" in capsys.readouterr().out


def test_the_checkpoints_of_an_encoder_decoder_say_what_they_are(rows, tmp_path):
    settings = {
        "model_name_or_path": TINY / "bart", "train_file": rows / "train.csv", "output_dir": tmp_path / "out",
        "use_cpu": True, "dtype": "float32", "max_steps": 1, "save_strategy": "steps", "save_steps": 1,
        "effective_batch_size": 2, "per_device_train_batch_size": 2, "disable_tqdm": True,
    }  # fmt: skip
    train_seq2seq({}, toys.flags(settings))
    checkpoint = tmp_path / "out" / "checkpoint-1"
    assert model_settings(str(checkpoint)) == model_settings(str(tmp_path / "out"))
