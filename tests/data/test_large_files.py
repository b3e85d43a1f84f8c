"""100,000 rows of every format: `check` and `convert` hold names and numbers of them, not their texts."""

import pytest

from benchmarks.memory_flat import peak_mib
from dialsum_trl.data.writing import WRITTEN, write_rows

ROWS = 100_000
TURN = "가나다라마바사아자차카타파하 " * 8  # a row of 1.1 kB, as DialogSum's are
HELD = 600  # bytes a row: its name, hashes, lengths and place, and what Python puts around them


def rows(count):
    for number in range(count):
        said = f"#Person1#: {number}번 {TURN}\n#Person2#: {TURN} {number}번이 아니다.\n#Person1#: {TURN}"
        yield {"fname": f"row_{number}", "dialogue": said, "summary": f"#Person2#은 {number}번이 아니라고 한다."}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["check", "convert"])
@pytest.mark.parametrize("suffix", [suffix for suffix in WRITTEN if suffix != ".xlsx"])
def test_a_hundred_thousand_rows_take_no_memory_for_their_texts(tmp_path, suffix, command):
    peaks = {}
    for count in (1000, ROWS):
        path = tmp_path / f"{count}{suffix}"
        write_rows(path, ["fname", "dialogue", "summary"], rows(count), texts=True)
        argv = (
            ["check", str(path)]
            if command == "check"
            else ["convert", str(path), str(tmp_path / f"out{count}{suffix}")]
        )
        peaks[count] = peak_mib(["-c", "from dialsum_trl.cli.app import main; main()", *argv], tmp_path / "log")
    assert (peaks[ROWS] - peaks[1000]) * 2**20 < HELD * ROWS
