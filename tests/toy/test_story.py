"""The steps of the demo after SFT, and the figures that the docs quote."""

import json

import pytest

from benchmarks import pipeline_demo
from dialsum_trl.data.submission import read_predictions
from tests.conftest import ROOT
from tests.row_files import sample
from toy.story import SAMPLES, run_steps

STEPS = ("zero-shot", "SFT", "instruction-tuned", "MBR", "post-processed")


@pytest.fixture(scope="module")
def story(toy_base, trained_adapter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    train, dev = (sample(folder, train=8, dev=4) / f"{split}.csv" for split in ("train", "dev"))
    config = folder / "story.yaml"
    config.write_text(
        f"model_name_or_path: {toy_base}\ndtype: float32\nquantization: none\nuse_cpu: true\nmax_new_tokens: 8\n"
        f"sft:\n  train_file: {train}\n  eval_file: {dev}\n  per_device_train_batch_size: 4\n"
        f"  effective_batch_size: 4\n"
        f"  max_steps: 2\n  logging_steps: 1\n"
        f"  rouge_rows: 2\n  rouge_max_new_tokens: 8\n  save_strategy: 'no'\n  fast: false\n"
        f"predict:\n  test_file: {dev}\nensemble:\n  test_file: {dev}\npostprocess:\n  test_file: {dev}\n"
        f"report:\n  train_file: {train}\n  test_file: {dev}\n",
        encoding="utf-8",
    )
    return folder, run_steps(trained_adapter, folder / "out", str(config))


def test_every_step_is_scored_on_the_same_rows_and_compared_with_the_one_before(story):
    _, figures = story
    assert tuple(figures["systems"]) == STEPS
    assert {one["rouge"]["n"] for one in figures["systems"].values()} == {4}
    assert [one["change"] and one["change"]["since"] for one in figures["systems"].values()] == [None, *STEPS[:-1]]


def test_the_story_leaves_one_page_and_its_seconds(story):
    folder, _ = story
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert all(f"</i>{name}</th>" in page for name in STEPS) and "Loss, " in page
    assert json.loads((folder / "out" / "seconds.json").read_text())["MBR"] >= 0


def test_the_consensus_is_one_of_its_candidates(story):
    folder = story[0] / "out"
    files = [folder / name / "submission.csv" for name in ("sft", "instruction_tuned")]
    files += [folder / "samples" / "candidates" / f"{number}.csv" for number in range(1, SAMPLES + 1)]
    candidates = [read_predictions(path) for path in files]
    for fname, text in read_predictions(folder / "mbr" / "submission.csv").items():
        assert text in [each[fname] for each in candidates]


def test_no_summary_of_the_recorded_demo_has_a_broken_character():
    results = json.loads((ROOT / "benchmarks" / "results" / "pipeline_demo.json").read_text(encoding="utf-8"))
    broken = results["summaries with a broken character"]
    assert {"sft", "instruction_tuned", "mbr"} <= set(broken) and not any(broken.values())


def test_the_figures_in_the_docs_are_those_of_the_results():
    results = json.loads((ROOT / "benchmarks" / "results" / "pipeline_demo.json").read_text(encoding="utf-8"))
    for path in pipeline_demo.PAGES:
        page = path.read_text(encoding="utf-8")
        assert pipeline_demo.with_figures(page, results) == page
        assert f"{results['systems']['MBR']['mean']:.2f}" in page and f"{results['floor']['mean']:.2f}" in page
