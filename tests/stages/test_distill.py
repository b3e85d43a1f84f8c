"""Self-distillation: what is learned is what the samples agree on, once, and by whom they were drawn."""

import csv
import json
import shutil

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_json
from dialsum_trl.metrics.consensus import agreements, mbr
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.models.file_names import WEIGHTS
from dialsum_trl.rl.pair_making import BROKEN
from dialsum_trl.stages.distill import distill
from tests import phase3_toys as toys
from tests.row_files import sample

CHARACTERS = RougeConfig("char")
SMALL = {"max_steps": 1, "save_strategy": "no", "disable_tqdm": True, "warmup_steps": 0}


def settings(folders, rows, output, **changes) -> dict:
    return dict(
        adapter_path=folders["sft"], model_name_or_path=folders["base"], dtype="float32", quantization="none",
        use_cpu=True, train_file=rows / "train.csv", output_dir=output, samples=4, max_new_tokens=6, margin=0.001,
        length_tolerance=9, rouge_tokenizer="char", learn=["sft", "dpo"], sft={**SMALL, "fast": False},
        dpo={**SMALL, "held_out": 0.4},
    ) | changes  # fmt: skip


@pytest.fixture(scope="module")
def distilled(folders, tmp_path_factory):
    """Flags, folder and figures of a round on six dialogues."""
    root = tmp_path_factory.mktemp("distilled")
    flags = settings(folders, sample(root, train=6), root / "out")
    return flags, root / "out", distill(**flags)


def read(path) -> list[dict]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def whole(texts: list[str]) -> list[str]:
    """The samples that may be learned: random weights write broken characters."""
    return [text for text in texts if text and BROKEN not in text]


def test_sft_learns_the_sample_that_agrees_most_and_dpo_pairs_it_by_agreement(distilled):
    _, folder, figures = distilled
    drawn = {row["fname"]: whole(row["summaries"]) for row in read(folder / "round1" / "samples.jsonl")}
    best = {row["fname"]: row["summary"] for row in read(folder / "round1" / "best.csv")}
    assert len(best) == 6 == figures["round 1, summaries"]
    assert all(best[name] == mbr([drawn[name]], config=CHARACTERS)[0].text for name in best)
    pairs = read(folder / "round1" / "pairs.jsonl")
    assert len(pairs) == figures["round 1, pairs"] > 1
    for pair in pairs:
        value = dict(zip(drawn[pair["fname"]], agreements(drawn[pair["fname"]], CHARACTERS), strict=True))
        assert value[pair["chosen"]] - value[pair["rejected"]] == pytest.approx(pair["margin"], abs=1e-4)


def test_each_step_trains_the_adapter_of_the_step_before(distilled, folders):
    _, folder, figures = distilled
    start, sft, dpo = folders["sft"], folder / "round1" / "sft", folder / "round1" / "dpo"
    assert figures["adapter"] == str(dpo)
    assert len({(place / WEIGHTS).read_bytes() for place in (start, sft, dpo)}) == 3
    made = json.loads((folder / "round1" / "dpo.json").read_text())
    assert made["settings"]["adapter_path"] == str(sft)


def test_what_is_done_is_not_done_again(distilled):
    flags, folder, figures = distilled
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("adapter_model.safetensors")}
    assert distill(**flags) == figures
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_folder_trained_with_other_settings_is_named(distilled):
    flags, *_ = distilled
    with pytest.raises(InputError, match="sft: was made with fast = False, now it is None"):
        distill(**flags | {"sft": SMALL})


def test_samples_of_a_row_are_of_the_adapter_that_left_it_out(folders, tmp_path):
    rows, other = sample(tmp_path, train=4), tmp_path / "other"
    shutil.copytree(folders["sft"], other)
    names = [row["fname"] for row in read(rows / "train.csv")]
    halves = [{"adapter": str(other), "held_out": names[:2]}, {"adapter": str(folders["sft"]), "held_out": names[2:]}]
    write_json(tmp_path / "folds" / "folds.json", {"folds": halves})
    change = {"folds_dir": tmp_path / "folds", "learn": ["sft"], "references": True}
    distill(**settings(folders, rows, tmp_path / "out", **change))
    drawn = [read(tmp_path / "out" / "round1" / f"samples{n}" / "samples.jsonl") for n in (0, 1)]
    assert [[row["fname"] for row in part] for part in drawn] == [names[:2], names[2:]]
    assert len(read(tmp_path / "out" / "round1" / "best.csv")) == 8  # references are learned beside them


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learn": ["rl"]}, "--learn rl: give sft, dpo or both"),
        ({"sft": "[1]"}, "--sft .*give its settings as JSON"),
        ({"samples": 2}, "--samples 2: must be at least 3"),
        ({"adapter_path": None}, "--adapter_path: give the SFT adapter"),
        ({"train_file": None}, "no dialogues: give --train_file, or --unlabelled_files"),
        ({"unlabelled_files": [toys.DEV, "twice.csv"]}, "names two dialogues alike that differ"),
        ({"folds_dir": "nowhere"}, "give --folds_dir the folder that recipes/folds.py wrote"),
    ],
)
def test_what_cannot_be_distilled_is_said_before_anything_is_loaded(folders, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    first = read(toys.DEV)[0]
    (tmp_path / "twice.csv").write_text(f"fname,dialogue\n{first['fname']},#Person1#: 다른 대화\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        distill(**settings(folders, sample(tmp_path, train=4), tmp_path / "out", **change))
    assert not (tmp_path / "out" / "round1").exists()
