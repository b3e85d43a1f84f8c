"""The search for SFT's settings; with Optuna, which is an extra: its trials, what it survives, what it chooses."""

from types import SimpleNamespace

import pytest
import yaml

from dialsum_trl.core.errors import InputError
from dialsum_trl.stages.pipelines.search import Reporter, Study
from dialsum_trl.stages.search import search
from tests.row_files import sample

SFT = dict(
    max_steps=2,
    save_strategy="epoch",
    disable_tqdm=True,
    fast=False,
    effective_batch_size=4,
    per_device_train_batch_size=4,
    warmup_steps=0,
)


def settings(folders, rows, output, **changes) -> dict:
    return dict(
        model_name_or_path=folders["base"], dtype="float32", quantization="none", use_cpu=True, output_dir=output,
        train_file=rows / "train.csv", eval_file=rows / "dev.csv", rouge_tokenizer="char", trials=2,
        search_learning_rate=[1e-3, 1e-1], search_lora_r=[2, 4], instruction=["요약해 줘.", "한 줄로."], sft=SFT,
    ) | changes  # fmt: skip


def test_without_optuna_it_says_what_to_install(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("dialsum_trl.stages.pipelines.search.optuna", None)
    with pytest.raises(InputError, match=r'needs Optuna: pip install "dialsum-trl\[search\]"'):
        search(**settings(folders, sample(tmp_path, train=8, dev=4), tmp_path / "out"))


def test_trials_are_kept_and_the_best_summaries_choose(folders, tmp_path):
    pytest.importorskip("optuna")
    rows = sample(tmp_path, train=8, dev=4)
    first = search(**settings(folders, rows, tmp_path / "out"))
    chosen = yaml.safe_load((tmp_path / "out" / "chosen.yaml").read_text(encoding="utf-8"))["sft"]
    best = max(first["trials"], key=lambda trial: trial["score"] or 0)
    assert len(first["trials"]) == 2 and first["chosen"] == best["settings"]
    assert chosen["learning_rate"] == best["settings"]["learning_rate"]
    assert chosen["lora_alpha"] == 2 * chosen["lora_r"] and chosen["instruction"][0] in ("요약해 줘.", "한 줄로.")
    more = search(**settings(folders, rows, tmp_path / "out", trials=3))
    assert more["trials"][:2] == first["trials"] and len(more["trials"]) == 3
    with pytest.raises(InputError, match="is a search with search_lora_r"):
        search(**settings(folders, rows, tmp_path / "out", search_lora_r=[8]))


def test_a_killed_trial_goes_on_in_its_folder_and_a_pruned_one_has_no_score(tmp_path):
    pytest.importorskip("optuna")
    spaces = dict(search_learning_rate=[1e-4, 1e-3], search_lora_r=[4], search_num_train_epochs=[3])
    args = SimpleNamespace(trials=3, seed=1, search_lora_dropout=[0.0], **spaces)
    study = Study(tmp_path, {"rows": "a"}, ["요약해 줘."], args)
    study.ask()
    study.tell(20.0)
    study.ask()
    study.trial.report(10.0, 1)
    study.tell(None)
    assert [trial["score"] for trial in study.scored()] == [20.0, None]
    stopped = study.ask()
    again = Study(tmp_path, {"rows": "a"}, ["요약해 줘."], args)
    assert again.ask() == stopped
    again.tell(30.0)
    assert again.ask() is None
    with pytest.raises(InputError, match="is a search with rows = a, now it is b"):
        Study(tmp_path, {"rows": "b"}, ["요약해 줘."], args)


@pytest.mark.parametrize(("prune", "ends"), [(True, True), (False, False)])
def test_a_trial_that_is_worse_than_the_others_ends(prune, ends):
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    state = SimpleNamespace(global_step=5, max_steps=10)
    Reporter(study.ask(), prune).on_evaluate(None, state, None, {"eval_rouge_mean": 30.0})
    study.tell(0, 30.0)
    last = Reporter(study.ask(), prune)
    if ends:
        with pytest.raises(optuna.TrialPruned):
            last.on_evaluate(None, state, None, {"eval_rouge_mean": 20.0})
    else:
        last.on_evaluate(None, state, None, {"eval_rouge_mean": 20.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search_learning_rate": [1e-3]}, "give the lowest and the highest rate"),
        ({"search_learning_rate": [1e-3, 1e-5]}, "give the lowest and the highest rate"),
        ({"lora_r": 8}, "--search_lora_r"),
    ],
)
def test_a_space_that_is_none_is_refused(folders, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        search(**settings(folders, sample(tmp_path, train=8, dev=4), tmp_path / "out", **change))
