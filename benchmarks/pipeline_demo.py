"""What each step of the pipeline gives on the toy's dev rows, and its seconds, for the README and docs/pipeline.md.

python -m benchmarks.pipeline_demo [--smoke] [--keep outputs/demo]

Their tables are written from the recorded figures: `python -m benchmarks.pipeline_demo --docs_only`.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import RESULTS, record
from dialsum_trl.core.files import write_text
from dialsum_trl.data.submission import read_predictions

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "pipeline.md", ROOT / "README.md")
MARKS = ("<!-- figures: benchmarks/pipeline_demo.py -->", "<!-- end of figures -->")
SFT = (
    "accelerate", "launch", "--quiet", "--config_file", "accelerate_configs/cpu.yaml", "recipes/sft_llama3b.py",
    "--config", "recipes/demo.yaml", "--output_dir",
)  # fmt: skip


def main(argv: list[str] | None = None) -> dict:
    """Runs the commands of `make demo` in a new folder and records the report's figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="one training step, to test this script")
    parser.add_argument("--keep", type=Path, help="folder to leave the demo's files in; it must not exist")
    parser.add_argument("--output_dir", type=Path, default=RESULTS)
    parser.add_argument("--docs_only", action="store_true", help="only put the recorded figures into the pages")
    args = parser.parse_args(argv)
    if args.docs_only:
        results = json.loads((args.output_dir / "pipeline_demo.json").read_text(encoding="utf-8"))
        for page in PAGES:
            write_text(page, with_figures(page.read_text(encoding="utf-8"), results))
        return results
    folder = args.keep or Path(tempfile.mkdtemp(prefix="demo-"))
    adapter = folder / "adapter"
    smoke = ["--max_steps", "1", "--warmup_steps", "0"] if args.smoke else []
    timings = {
        "sft": run([str(Path(sys.executable).parent / SFT[0]), *SFT[1:], str(adapter), *smoke]),
        "all other steps": run([sys.executable, "-m", "toy.story", str(adapter), str(folder)]),
    }
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    steps = json.loads((folder / "seconds.json").read_text(encoding="utf-8"))
    broken = {
        path.parent.name: sum("\N{REPLACEMENT CHARACTER}" in text for text in read_predictions(path).values())
        for path in sorted(folder.glob("*/submission.csv"))
    }
    if not args.keep:
        shutil.rmtree(folder)
    systems = {
        name: {
            **{key: one["rouge"][key] for key in ("rouge1", "rouge2", "rougeL", "mean", "sum", "interval95_of_mean")},
            "change": one["change"],
            "masks_kept": one["masks_kept"],
            "length_ratio": one["length_ratio"],
            "hit_limit": one["hit_limit"],
        }
        for name, one in found["systems"].items()
    }
    first = next(iter(found["systems"].values()))["rouge"]
    return record(
        "pipeline_demo",
        variant="make demo: zero-shot, SFT, instruction tuning, MBR of 10 candidates, all post-processing rules",
        shape=f"the toy llama on {first['n']} dev rows, ROUGE on {first['config']['tokenizer']} tokens, masks split",
        packages=["torch", "transformers", "trl", "peft", "bitsandbytes", "mecab-ko", "python-mecab-ko-dic"],
        figures={
            "systems": systems,
            "floor": first["floor"],
            "summaries with a broken character": broken,
            "seconds": timings,
            "seconds of the other steps": steps,
        },
        folder=args.output_dir,
    )


def with_figures(page: str, results: dict) -> str:
    """`page` with the table between its two figure marks made from `results`."""
    lines = [
        "| step | ROUGE mean | sum | change of the mean | 95 % of the change | masks kept | cut by the limit |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in results["systems"].items():
        change, limit = one["change"], one["hit_limit"]
        cells = [f"{one['mean']:.2f}", f"{one['sum']:.2f}", "", "", f"{one['masks_kept']:.1f} %", ""]
        if change:
            cells[2:4] = f"{change['delta']:+.2f}", "{:+.2f} to {:+.2f}".format(*change["interval95"])
        if limit is not None:
            cells[5] = f"{limit:.1f} %"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    floor = results["floor"]
    lines.append(f"| constant line | {floor['mean']:.2f} | {floor['sum']:.2f} | | | | |")
    before, rest = page.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return before + MARKS[0] + "\n\n" + "\n".join(lines) + "\n\n" + MARKS[1] + after


def run(command: list[str]) -> dict[str, float]:
    """Seconds on the wall and of all processors; the two say how busy the machine was."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(time.perf_counter() - started, 1), "cpu": round(cpu, 1)}


if __name__ == "__main__":
    main()
