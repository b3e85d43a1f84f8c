"""One HTML file about a pipeline: scores of all systems, training, data, topics, best and worst dialogues, settings.

    python recipes/report.py --systems zero-shot=outputs/zero_shot SFT=outputs/sft MBR=outputs/ensemble \
        --test_file data/dev.csv --train_file data/train.csv --output_file outputs/report.html

The page loads nothing from anywhere and runs no script. Training curves come from the adapters that lie beside the
systems' folders; --runs names others.
"""

from dialsum_trl import report

RECIPE = dict()

if __name__ == "__main__":
    report(RECIPE)
