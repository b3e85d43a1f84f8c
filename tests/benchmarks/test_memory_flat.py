"""Host memory over 10,000 rows is what the rows are, a few times over, and nothing that stays behind a row."""

import pytest

from benchmarks.memory_flat import check_command, measure, peak_mib, write_rows
from benchmarks.shapes import build


def test_a_row_more_costs_check_less_than_eight_times_its_text(tmp_path):
    sizes = [write_rows(tmp_path / f"{count}.csv", count) / 2**20 for count in (1000, 10_000)]
    peaks = [peak_mib(check_command(tmp_path / f"{count}.csv"), tmp_path / "log") for count in (1000, 10_000)]
    assert sizes[1] > 9 * sizes[0]
    assert peaks[1] - peaks[0] < 8 * (sizes[1] - sizes[0])


def test_the_peak_is_that_of_the_command_and_not_of_the_process_that_starts_it(tmp_path):
    held = bytearray(300 * 2**20)
    small = peak_mib(["-c", "pass"], tmp_path / "log")
    large = peak_mib(["-c", "bytearray(200 * 2**20).count(1)"], tmp_path / "log")
    assert len(held) and small < 60 and 190 < large - small < 210


@pytest.mark.slow
def test_a_row_more_costs_prediction_less_than_eight_times_its_text(tmp_path):
    base = build("smoke", tmp_path / "base", "float32")
    figures = measure(tmp_path, str(base))
    assert figures["rows"] == [1000, 10_000]
    assert figures["predict_growth_in_sizes_of_the_text"] < 8
