"""The benchmarks of resumed runs on the toy."""

import pytest

from benchmarks import resume_equality, soak


@pytest.mark.slow
def test_a_soak_in_two_calls_loses_no_step_beyond_the_last_checkpoint(tmp_path):
    flags = ["--smoke", "--minutes", "0.05", "--kills", "2", "--save-steps", "4", "--keep", str(tmp_path / "keep")]
    assert soak.main([*flags, "--seconds-per-call", "61"]) is None
    figures = soak.main(flags)
    assert figures["kills"] == 2 and figures["most_steps_lost"] <= 4
    second = figures["stretches"][1]
    assert second["from_step"] >= 4 and second["skipped_checkpoints"] == []
    assert figures["steps_made_twice"] >= 1 and figures["largest_loss_difference"] == 0
    assert figures["peak_memory_gib"] == [] and all(each["peak_memory_gib"] > 0.1 for each in figures["stretches"])


@pytest.mark.slow
def test_the_benchmark_finds_a_resumed_toy_equal_to_the_unbroken_one():
    [row] = resume_equality.main(["--smoke", "--steps", "4", "--full-determinism", "--optims", "paged_adamw_8bit"])
    found = row["resumed_from_unbroken"]
    assert found["largest_relative_loss_difference"] == found["relative_adapter_difference"] == 0
    assert found["optimizer_tensors_equal"] == found["optimizer_tensors"] > 0
