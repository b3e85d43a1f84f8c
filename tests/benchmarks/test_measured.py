"""What one GPU was measured to need (benchmarks/results): the formula agrees, and the pages quote it."""

import json
import re

import pytest
from transformers import AutoConfig

from benchmarks.record import RESULTS
from benchmarks.shapes import SHAPES
from dialsum_trl.training.estimate import known_shape
from dialsum_trl.training.plan.memory import Shape, plan

FILES = ("sft_speed", "sft_families")
ROWS = [row for name in FILES for row in json.loads((RESULTS / f"{name}.json").read_text()) if row.get("plan")]
RECIPES = json.loads((RESULTS / "recipes_on_gpu.json").read_text())

MEASURED = {
    "Bllossom/llama-3.2-Korean-Bllossom-3B": "llama3b",
    "MLP-KTLim/llama-3-Korean-Bllossom-8B": "llama8b",
    "Qwen/Qwen2.5-7B-Instruct": "qwen25_7b",
    "Qwen/Qwen3-4B-Instruct-2507": "qwen3_4b",
    "Qwen/Qwen3-8B": "qwen3_8b",
    "google/gemma-3-4b-it": "gemma3_4b",
    "LGAI-EXAONE/EXAONE-4.0-1.2B": "exaone4_1b",
    "LGAI-EXAONE/EXAONE-4.0-32B": "exaone4_32b",
    "mistralai/Mistral-7B-Instruct-v0.3": "mistral_7b",
    "microsoft/Phi-4-mini-instruct": "phi4_mini",
}
ZERO = ["deepspeed_zero2", "deepspeed_zero3"]


def planned(row):
    """The plan that the formula makes today for a measured run's budget and micro-batches."""
    family, sizes = SHAPES[row["shape"]]
    shape = Shape.of(AutoConfig.for_model(family, **sizes), rank=16, quantization="4bit")
    budget, count, tokens = re.match(
        r"Plan for ([\d.]+) GiB: (\d+) micro-batches a step, up to (\d+)", row["plan"]
    ).groups()
    return plan(shape, lambda _: int(tokens), [int(count)], float(budget))


@pytest.mark.parametrize(("model", "shape"), MEASURED.items())
def test_the_doctor_knows_the_shapes_that_are_measured(model, shape):
    family, sizes = SHAPES[shape]
    measured = Shape.of(AutoConfig.for_model(family, **sizes), rank=16, quantization="4bit")
    assert known_shape(model, "main", 16, "4bit") == measured


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['variant']} {row['shape']}")
def test_the_estimated_memory_is_what_was_reserved(row):
    assert planned(row).gib == pytest.approx(row["reserved_gib"], rel=0.06)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['variant']} {row['shape']}")
def test_the_estimated_step_is_within_a_fifth_of_the_measured_one(row):
    assert planned(row).seconds == pytest.approx(row["seconds_a_step"], rel=0.2)


@pytest.mark.parametrize("row", RECIPES, ids=lambda row: row["variant"])
def test_the_estimated_memory_is_what_each_recipe_reserved(row):
    assert planned(row).gib == pytest.approx(row["peak_reserved_gib"], rel=0.06)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['variant']} {row['shape']}")
def test_no_measured_run_exceeded_its_budget(row):
    assert row["reserved_gib"] <= planned(row).budget


@pytest.mark.parametrize("row", RECIPES, ids=lambda row: row["variant"])
def test_no_recipe_exceeded_its_budget(row):
    assert row["peak_reserved_gib"] <= row["memory_gib"]


def figures(name: str, key: str) -> dict:
    """`{variant: figure}` of a result file."""
    return {row["variant"]: row[key] for row in json.loads((RESULTS / f"{name}.json").read_text()) if key in row}


@pytest.mark.parametrize(
    ("page", "name", "key", "variants"),
    [
        ("README.md", "sft_speed", "tokens_per_second", ["plain", "trl_packing", "unsloth", "ours_8gib", "ours"]),
        ("README.md", "sft_unsloth", "tokens_per_second", ["unsloth_4_packs", "unsloth_checkpointing", "ours"]),
        ("README.md", "generation_speed", "new_tokens_per_second", ["ours, greedy", "ours, beam 4"]),
        ("docs/scaling.md", "scaling_llama3b_2_tasks", "tokens_per_second", ["single_gpu", "ddp"]),
        ("docs/scaling.md", "scaling_llama3b_2", "tokens_per_second", ["single_gpu", "share", "ddp"]),
        ("docs/scaling.md", "scaling_llama3b_2_split", "tokens_per_second", ["single_gpu", "fsdp_one", *ZERO]),
        ("docs/scaling.md", "scaling_llama3b_2_fsdp", "tokens_per_second", ["fsdp_one", "fsdp"]),
        ("docs/scaling.md", "scaling_llama8b_2", "tokens_per_second", ["single_gpu", "ddp", *ZERO]),
        ("docs/scaling.md", "scaling_llama8b_2_fsdp", "tokens_per_second", ["single_gpu", "fsdp"]),
        ("docs/scaling.md", "scaling_llama8b_2_plain", "tokens_per_second", ["fsdp_one", "fsdp", ZERO[1]]),
        ("docs/scaling.md", "scaling_llama3b_4", "tokens_per_second", ["single_gpu", "ddp", "fsdp", *ZERO]),
        ("docs/scaling.md", "scaling_llama3b_4_256", "tokens_per_second", ["single_gpu", "ddp"]),
        ("docs/scaling.md", "scaling_llama8b_4", "tokens_per_second", ["single_gpu", "ddp", ZERO[0]]),
        ("README.md", "scaling_llama3b_4_256", "tokens_per_second", ["ddp"]),
        ("README.md", "scaling_llama8b_4", "tokens_per_second", ["ddp"]),
        ("README.md", "scaling_llama3b_2", "tokens_per_second", ["ddp"]),
        ("README.md", "scaling_llama8b_2", "tokens_per_second", ["ddp"]),
    ],
)
def test_the_speeds_of_a_page_are_those_that_a_run_wrote(page, name, key, variants):
    written, found = (RESULTS.parents[1] / page).read_text(), figures(name, key)
    assert [found[variant] for variant in variants if f"{found[variant]:,}" not in written] == []


@pytest.mark.parametrize("shape", ["llama3b", "llama8b"])
def test_two_gpus_under_ddp_train_092_times_twice_as_fast_as_one(shape):
    rates = figures(f"scaling_{shape}_2", "tokens_per_second")
    assert rates["ddp"] / rates["single_gpu"] / 2 >= 0.92


@pytest.mark.parametrize(
    ("name", "variant", "of_ddp"),
    [
        ("scaling_llama3b_2_split", "deepspeed_zero3", "scaling_llama3b_2"),
        ("scaling_llama3b_2_fsdp", "fsdp", "scaling_llama3b_2"),
        ("scaling_llama8b_2_plain", "deepspeed_zero3", "scaling_llama8b_2"),
        ("scaling_llama8b_2_plain", "fsdp", "scaling_llama8b_2"),
    ],
)
def test_an_adapter_of_split_weights_is_as_near_to_one_gpus_as_that_of_ddp(name, variant, of_ddp):
    """Both from a run of the same layers on one GPU; a tenth more is noise."""
    ddp = figures(of_ddp, "relative_difference_of_b")["ddp"]
    assert figures(name, "relative_difference_of_b_from_plain")[variant] < 1.1 * ddp


def test_two_gpus_that_decode_as_many_rows_at_a_time_write_what_one_writes():
    assert figures("scaling_llama3b_2_predict", "rows_equal_to_one_process") == {"predict": 499}


def test_unsloth_is_the_slower_by_what_the_readme_says():
    rates = figures("sft_unsloth", "tokens_per_second")
    best = max(rate for variant, rate in rates.items() if variant.startswith("unsloth"))
    times = re.search(r"\*\*([\d.]+) times its best\*\*", (RESULTS.parents[1] / "README.md").read_text())[1]
    assert times == f"{rates['ours'] / best:.1f}"


def test_the_soak_lost_no_step_beyond_a_checkpoint_and_its_memory_stayed_flat():
    [soak] = json.loads((RESULTS / "soak.json").read_text())
    assert soak["kills"] == 5 and sum(each["seconds"] for each in soak["stretches"]) >= 30 * 60
    assert soak["most_steps_lost"] < soak["save_steps"] and soak["memory_spread_percent"] <= 2


def test_the_readme_quotes_the_soak():
    [soak] = json.loads((RESULTS / "soak.json").read_text())
    readme = " ".join((RESULTS.parents[1] / "README.md").read_text().split())
    lost, spread, ended = (
        soak["most_steps_lost"],
        soak["memory_spread_percent"],
        [s["ended_by"] for s in soak["stretches"]],
    )
    peaks = {f"{peak:.2f}" for peak in soak["peak_memory_gib"]}
    assert (soak["kills"], ended.count("kill"), ended.count("end of the call"), peaks) == (5, 5, 2, {"22.57"})
    assert "with five kills and two more stops at the end of a call" in readme
    assert f"{soak['steps']:,} steps, at most {lost} of them repeated after each" in readme
    assert f"GPU memory {peaks.pop()} GiB throughout, within {spread} %" in readme


def test_a_soak_with_8_bit_adamw_lost_no_step_beyond_a_checkpoint_either():
    [soak] = json.loads((RESULTS / "soak_paged_adamw_8bit.json").read_text())
    resumed = [each for each in soak["stretches"] if each["from_step"]]
    assert soak["optim"] == "paged_adamw_8bit" and soak["kills"] == 4 and len(resumed) == 3
    assert soak["most_steps_lost"] < soak["save_steps"] and soak["steps_made_twice"] > 60
    assert soak["largest_loss_difference"] < 0.0101  # losses above 10 are printed to a hundredth


def test_a_resumed_run_on_a_gpu_equals_the_unbroken_one_to_the_bit_with_deterministic_kernels():
    rows = json.loads((RESULTS / "resume_equality_deterministic.json").read_text())
    assert [row["optim"] for row in rows] == ["paged_adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit"]
    for row in rows:
        found = row["resumed_from_unbroken"]
        assert found["largest_relative_loss_difference"] == found["relative_adapter_difference"] == 0
        assert found["adapter_tensors_equal"] == found["adapter_tensors"] > 0
        assert found["optimizer_tensors_equal"] == found["optimizer_tensors"] > 0
        assert ("uint8" in found["optimizer_dtypes"]) == ("8bit" in row["optim"])  # the states are in 8 bits indeed


def test_with_the_usual_kernels_a_resumed_run_is_nearer_to_the_unbroken_one_than_another_unbroken_one_is():
    for row in json.loads((RESULTS / "resume_equality.json").read_text()):
        for figure in ("largest_relative_loss_difference", "relative_adapter_difference"):
            assert row["resumed_from_unbroken"][figure] < row["unbroken_from_unbroken"][figure]
