"""Peak host memory of `dialsum check` and of prediction over 1,000 and over 10,000 rows.

    python -m benchmarks.memory_flat

Each runs in its own process; the peak is the kernel's (`ru_maxrss`). Only a small multiple of the rows' own size may
grow: the text as read, its cleaned copy, the token ids of the prompts, the summaries.
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.record import record
from benchmarks.shapes import TINY, build

COUNTS = (1000, 10_000)
TURNS = 12  # a row of about 1.1 kB, as DialogSum's are


def write_rows(path: Path, count: int) -> int:
    """A CSV of `count` dialogues unlike one another; returns its size in bytes."""
    with (TINY / "data" / "train.csv").open(encoding="utf-8", newline="") as file:
        turns = [turn for row in csv.DictReader(file) for turn in row["dialogue"].split("\n")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fname", "dialogue"])
        for row in range(count):
            picked = [turns[(row * 7 + turn * 31) % len(turns)] for turn in range(TURNS)]
            writer.writerow([f"row_{row}", "\n".join([*picked, f"#Person1#: {row}번이에요."])])
    return path.stat().st_size


# A child inherits its parent's peak from the kernel, so a light process with a peak of 10 MiB is started in between.
BETWEEN = """
import os, sys
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[2:]], os.environ)
_, status, usage = os.wait4(child, 0)
open(sys.argv[1], "w").write(f"{status} {usage.ru_maxrss}")
"""


def peak_mib(command: list[str], log: Path) -> float:
    """Peak resident memory of a command, MiB. Raises RuntimeError with the end of its output when it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    figures = log.with_suffix(".peak")
    with log.open("wb") as file:
        subprocess.run(
            [sys.executable, "-S", "-c", BETWEEN, str(figures), *command],
            env=environment, stdout=file, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip
    status, peak = map(int, figures.read_text().split())
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
    return round(peak / 1024, 1)


def check_command(rows: Path) -> list[str]:
    return ["-c", "from dialsum_trl.cli.app import main; main()", "check", str(rows)]


def predict_command(rows: Path, base: str, output: Path) -> list[str]:
    recipe = Path(__file__).resolve().parents[1] / "recipes" / "predict.py"
    flags = f"--model_name_or_path {base} --test_file {rows} --output_dir {output} --use_cpu true --dtype float32 "
    flags += "--quantization none --num_beams 1 --max_new_tokens 2 --batch_size 16 --bootstrap 0"
    return [str(recipe), *flags.split()]


def measure(folder: Path, base: str, counts: tuple[int, ...] = COUNTS) -> dict:
    """Size of each file and peak of each command, MiB, and what a further row costs in bytes."""
    sizes, peaks = [], {"check": [], "predict": []}
    for count in counts:
        rows = folder / f"{count}.csv"
        sizes.append(round(write_rows(rows, count) / 2**20, 2))
        peaks["check"].append(peak_mib(check_command(rows), folder / "log"))
        peaks["predict"].append(peak_mib(predict_command(rows, base, folder / f"out{count}"), folder / "log"))
    more_rows, more_text = counts[-1] - counts[0], sizes[-1] - sizes[0]
    figures = {"rows": list(counts), "file_mib": sizes}
    for name, peak in peaks.items():
        growth = peak[-1] - peak[0]
        figures |= {
            f"{name}_peak_mib": peak,
            f"{name}_bytes_a_further_row": round(growth * 2**20 / more_rows),
            f"{name}_growth_in_sizes_of_the_text": round(growth / more_text, 2),
        }
    return figures


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = build("smoke", Path(folder) / "base", "float32")
        figures = measure(Path(folder), str(base))
    packages = ["torch", "transformers", "datasets"]
    record("memory_flat", "check and predict", "a Llama of two layers, 2 new tokens", packages, figures)


if __name__ == "__main__":
    main()
