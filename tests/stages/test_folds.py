"""Folds: every row is summarized by an adapter that has not seen it, and all adapters vote on the test rows."""

import json

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.folds import divide
from dialsum_trl.data.submission import read_predictions
from dialsum_trl.metrics.consensus import mbr
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.models.file_names import WEIGHTS
from dialsum_trl.stages.folds import train_folds
from tests.row_files import sample


def settings(folders, rows, output, **changes) -> dict:
    return dict(
        model_name_or_path=folders["base"], dtype="float32", quantization="none", use_cpu=True, output_dir=output,
        train_file=rows / "train.csv", test_file=rows / "dev.csv", folds=2, num_beams=1, max_new_tokens=6,
        rouge_tokenizer="char", bootstrap=20, lora_r=4,
        sft=dict(max_steps=2, save_strategy="no", disable_tqdm=True, fast=False, learning_rate=0.05, warmup_steps=0),
    ) | changes  # fmt: skip


@pytest.fixture(scope="module")
def folded(folders, tmp_path_factory):
    """Flags, folder and figures of two folds of eight rows, whose adapters summarize four others."""
    root = tmp_path_factory.mktemp("folded")
    flags = settings(folders, sample(root, train=8, dev=4), root / "out")
    return flags, root / "out", train_folds(**flags)


def test_every_row_is_left_out_once_and_has_its_summary_and_scores(folded):
    flags, folder, figures = folded
    folds = json.loads((folder / "folds.json").read_text())["folds"]
    names = read_dialogues(flags["train_file"])["fname"][:]
    assert sorted(name for fold in folds for name in fold["held_out"]) == sorted(names)
    for fold, place in zip(folds, (folder / "fold0", folder / "fold1"), strict=True):
        kept = read_dialogues(place / "train.csv")["fname"][:]
        assert not set(kept) & set(fold["held_out"]) and len(kept) + len(fold["held_out"]) == 8
        found = read_predictions(place / "held_out" / "submission.csv")
        assert set(found) == set(fold["held_out"])
    rows = [json.loads(line) for line in (folder / "out_of_fold" / "predictions.jsonl").read_text().splitlines()]
    assert [row["fname"] for row in rows] == names and all("rouge1" in row for row in rows)
    assert figures["scores"].n == 8


def test_the_submission_is_the_consensus_of_the_folds(folded):
    _, folder, figures = folded
    votes = [read_predictions(folder / f"fold{n}" / "test" / "submission.csv") for n in (0, 1)]
    chosen = read_predictions(folder / "consensus" / "submission.csv")
    assert (folder / "fold0" / "adapter" / WEIGHTS).read_bytes() != (
        folder / "fold1" / "adapter" / WEIGHTS
    ).read_bytes()
    for name, text in chosen.items():
        assert text == mbr([[vote[name] for vote in votes]], config=RougeConfig("char"))[0].text
    assert figures["submission"] == str(folder / "consensus" / "submission.csv")


def test_finished_folds_are_not_trained_again_and_samples_vote_too(folded):
    flags, folder, _ = folded
    before = [(folder / f"fold{n}" / "adapter" / WEIGHTS).stat().st_mtime_ns for n in (0, 1)]
    figures = train_folds(**flags)
    assert [(folder / f"fold{n}" / "adapter" / WEIGHTS).stat().st_mtime_ns for n in (0, 1)] == before
    assert figures["ROUGE mean out of fold"] > 0


def test_folds_keep_the_rows_of_a_dialogue_together(tmp_path):
    rows = read_dialogues(sample(tmp_path, train=8) / "train.csv")
    twice = rows.select([0, 1, 2, 3, 0, 1])
    parts = divide(twice, 3, 1)
    assert sorted(index for part in parts for index in part) == list(range(6))
    for part in parts:
        assert {0, 4} & set(part) in (set(), {0, 4}) and {1, 5} & set(part) in (set(), {1, 5})


def test_more_folds_than_dialogues_are_refused(folders, tmp_path):
    with pytest.raises(InputError, match=r"--folds 5: .* has fewer dialogues; give fewer folds"):
        train_folds(**settings(folders, sample(tmp_path, train=3, dev=2), tmp_path / "out", folds=5))
    assert not (tmp_path / "out").exists()
