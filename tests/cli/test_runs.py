"""`dialsum runs`: what sets runs apart, and which is best."""

import json

import pytest

from dialsum_trl.cli.runs import list_runs
from dialsum_trl.core.errors import InputError


def rouge(mean):
    return {"mean": mean, "interval95_of_mean": [mean - 1, mean + 1], "n": 64}


@pytest.fixture
def outputs(tmp_path):
    for name, rate, mean in (("slow", 2e-5, 40.0), ("quick", 1e-4, 45.0)):
        (tmp_path / name / "dev").mkdir(parents=True)
        (tmp_path / name / "checkpoint-5").mkdir()
        record = {
            "method": "SFT",
            "metrics": {"eval_loss": 1.5},
            "settings": {"learning_rate": rate, "seed": 42},
            "data": {"rows": 480},
            "evaluation": {"file": "dev.csv", "rouge": rouge(mean)},
            "gpu_gib": 7.5,
        }
        for folder in (tmp_path / name, tmp_path / name / "checkpoint-5"):
            (folder / "dialsum.json").write_text(json.dumps(record))
        state = {"log_history": [{"loss": 2.0}, {"train_runtime": 90.0}]}
        (tmp_path / name / "trainer_state.json").write_text(json.dumps(state))
        (tmp_path / name / "dev" / "scores.json").write_text(json.dumps({"rouge": rouge(mean + 2)}))
    return tmp_path


def test_runs_are_ordered_by_score_and_show_only_settings_that_differ(outputs):
    best, other = list_runs(outputs)
    assert (best["settings"], other["settings"]) == ({"learning_rate": 1e-4}, {"learning_rate": 2e-5})
    assert [score["on"] for score in best["scores"]] == ["dev.csv", "dev"] and best["scores"][1]["mean"] == 47
    assert (best["loss"], best["seconds"], best["gib"]) == (1.5, 90.0, 7.5)


def test_the_table_has_figures_and_differing_settings(outputs, capsys):
    list_runs(outputs)
    printed = capsys.readouterr().out
    assert "quick: learning_rate 0.0001" in printed and "46.0-48.0" in printed and "seed" not in printed
    assert printed.index("quick") < printed.index("slow")


def test_as_json_is_one_object(outputs, capsys):
    runs = list_runs(outputs, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"runs": runs}


def test_a_folder_without_runs_is_said(tmp_path):
    with pytest.raises(InputError, match="no training run is in it"):
        list_runs(tmp_path)
