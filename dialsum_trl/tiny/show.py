"""The demo's last page: before and after on the same rows, three summaries, and what to run next.

    python -m dialsum_trl.tiny.show outputs/demo/zero_shot outputs/demo/sft
"""

import argparse
import json
from pathlib import Path

DATA = Path(__file__).parent / "data" / "dev.csv"
NEXT = (
    "On a GPU, with real data (fname,dialogue,summary):\n"
    "  accelerate launch recipes/sft_llama3b.py --train_file data/train.csv --eval_file data/dev.csv\n"
    "  accelerate launch recipes/predict.py --adapter_path outputs/sft_llama3b --test_file data/dev.csv"
)


def show(before: Path, after: Path, samples: int = 3) -> None:
    """Prints both scores with their interval, and `samples` dialogues with reference and both summaries."""
    from dialsum_trl.console import table
    from dialsum_trl.data import read_dialogues
    from dialsum_trl.submission import read_predictions

    rouge = [json.loads((folder / "scores.json").read_text(encoding="utf-8"))["rouge"] for folder in (before, after)]
    summaries = [read_predictions(folder / "submission.csv") for folder in (before, after)]
    rows = read_dialogues(DATA)
    for row in rows.select(range(0, len(rows), len(rows) // samples)).select(range(samples)):
        print(f"\n{row['dialogue']}")
        print(f"  reference   {row['summaries'][0]}")
        print(f"  zero-shot   {summaries[0][row['fname']]}")
        print(f"  after SFT   {summaries[1][row['fname']]}")
    print()
    lines = []
    for name, scores in (("zero-shot", rouge[0]), ("after SFT", rouge[1]), ("constant line", rouge[1]["floor"])):
        low, high = scores.get("interval95_of_mean") or (None, None)
        figures = [f"{scores[key]:.2f}" for key in ("rouge1", "rouge2", "rougeL", "mean", "sum")]
        lines.append((name, *figures, f"{low:.2f} - {high:.2f}" if low is not None else ""))
    config = rouge[1]["config"]
    title = f"ROUGE F1 x 100 on {rouge[1]['n']} unseen toy dialogues ({config['tokenizer']}, masks {config['masks']})"
    table(title, lines, ("", "R-1", "R-2", "R-L", "mean", "sum", "95 % of mean"))
    print("This is a toy of about a million parameters on synthetic dialogues: it shows that the path works, no more.\n")
    print(NEXT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="output_dir of predict without the adapter")
    parser.add_argument("after", type=Path, help="output_dir of predict with it")
    arguments = parser.parse_args()
    show(arguments.before, arguments.after)


if __name__ == "__main__":
    main()
