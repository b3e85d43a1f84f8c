"""The second part of `dialsum demo`: all the steps after SFT, in one process.

    python toy/story.py outputs/demo/adapter outputs/demo

Zero-shot, SFT, instruction tuning, consensus (MBR) and post-processing on the same unseen rows; one table, one report.
No step looks at the references of these rows before the table, so one that costs points shows that.
"""

import argparse
import sys
import time
from pathlib import Path

import dialsum_trl
from dialsum_trl.core.console import quiet_libraries, say
from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.core.files import write_json
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.predictions import read_system
from dialsum_trl.data.summary_rules import RULES
from dialsum_trl.stages.ensemble import ensemble
from dialsum_trl.stages.postprocess import postprocess
from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.report import report
from dialsum_trl.stages.sft import train_sft

SAMPLES = 8
INSTRUCTIONS = ("--instructions", "random", "--num_train_epochs", "2", "--learning_rate", "2e-3")
SAMPLING = ("--do_sample", "true", "--num_beams", "1", "--temperature", "0.7", "--num_return_sequences", str(SAMPLES))
DEV = Path(dialsum_trl.__file__).parent / "toy" / "data" / "dev.csv"


def run_steps(adapter: Path, output: Path, config: str = "recipes/demo.yaml") -> dict:
    """Runs the steps; each leaves a folder in `output`, the last one `report.html`, and their times `seconds.json`.

    Returns:
        The report's figures.
    """
    seconds, started = {}, time.time()

    def step(name, stage, *flags):
        nonlocal started
        say(f"\n== {name}")
        result = stage({}, ["--config", config, *map(str, flags)])
        seconds[name] = round(time.time() - started, 1)
        started = time.time()
        return result

    tuned, consensus = output / "instruction_tuned_adapter", output / "mbr"
    step("zero-shot", predict, "--output_dir", output / "zero_shot")
    step("SFT", predict, "--adapter_path", adapter, "--output_dir", output / "sft")
    step("instruction tuning", train_sft, "--adapter_path", adapter, "--output_dir", tuned, *INSTRUCTIONS)
    step("instruction-tuned", predict, "--adapter_path", tuned, "--output_dir", output / "instruction_tuned")
    step("samples", predict, "--adapter_path", tuned, "--output_dir", output / "samples", *SAMPLING)
    files = [output / "sft" / "submission.csv", output / "instruction_tuned" / "submission.csv"]
    files += [output / "samples" / "candidates" / f"{number}.csv" for number in range(1, SAMPLES + 1)]
    step("MBR", ensemble, "--prediction_files", *files, "--output_dir", consensus)
    processed = output / "post_processed.csv"
    flags = ("--prediction_file", consensus / "submission.csv", "--rules", *RULES, "--output_file", processed)
    step("post-processing", postprocess, *flags)
    systems = {
        "zero-shot": output / "zero_shot",
        "SFT": output / "sft",
        "instruction-tuned": output / "instruction_tuned",
        "MBR": consensus,
        "post-processed": processed,
    }
    flags = ("--systems", *(f"{name}={path}" for name, path in systems.items()))
    figures = step("report", report, *flags, "--output_file", output / "report.html")
    write_json(output / "seconds.json", seconds)
    show(systems)
    return figures


def show(systems: dict[str, Path], samples: int = 2) -> None:
    """Prints a few dev dialogues with their reference and what every system makes of them."""
    read = [read_system(name, path) for name, path in systems.items()]
    rows = [row for row in read_dialogues(DEV) if row["fname"] in read[0].summaries]
    for index in range(0, len(rows), -(-len(rows) // samples)):
        row = rows[index]
        print(f"\n{row['dialogue']}")
        for name, text in (("reference", row["summaries"][0]), *((s.name, s.summaries[row["fname"]]) for s in read)):
            print(f"  {name:18}{text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path, help="output_dir of SFT on the toy")
    parser.add_argument("output", type=Path, help="folder for the steps and the report")
    arguments = parser.parse_args()
    quiet_libraries()
    try:
        run_steps(arguments.adapter, arguments.output)
    except (InputError, TrainingError) as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
