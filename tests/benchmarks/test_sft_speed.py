"""The speed benchmarks run on a CPU in their smoke modes and find both paths equal."""

import pytest

from benchmarks import lora_variants, sft_curves, sft_speed


def test_the_benchmark_measures_each_path_on_equal_losses(tmp_path):
    rows = {row["variant"]: row for row in sft_speed.main(["--smoke", "--variants", "plain", "ours"])}
    assert rows["equality"]["ours_against_float32"]["smallest_cosine"] > 0.9999
    assert rows["ours"]["losses"][:2] == pytest.approx(rows["plain"]["losses"], abs=2e-3)  # dropout masks differ
    assert rows["ours"]["tokens_per_second"] > 0 and "micro-batches" in rows["ours"]["plan"]


@pytest.mark.slow
def test_the_curves_of_both_paths_are_compared_step_by_step():
    rows = sft_curves.main(["--smoke"])
    assert len(rows[0]["ours"]) == 3 and rows[0]["largest_gap"] < 1e-3
    losses = {row["variant"]: row["losses"] for row in rows[1:]}
    plain, fused = (losses[f"first steps at 2e-5, {kind} layers, float32"] for kind in ("plain", "fused"))
    assert fused == pytest.approx(plain, abs=1e-4)


@pytest.mark.slow
def test_every_variant_of_lora_on_the_fused_layers_has_pefts_gradients():
    rows = lora_variants.main(["--smoke"])
    assert [row["variant"] for row in rows] == list(lora_variants.VARIANTS)
    assert min(row["ours_against_float32"]["smallest_cosine"] for row in rows) > 0.9999
