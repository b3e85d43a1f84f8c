"""One HTML report of a pipeline: scores of all systems, training, data, topics, best and worst dialogues, settings.

    python recipes/report.py --systems zero-shot=outputs/zero_shot SFT=outputs/sft MBR=outputs/ensemble \
        --test_file data/dev.csv --train_file data/train.csv --output_file outputs/report.html

The page has no scripts and loads nothing. Training curves come from the adapters in the same parent folder as the
systems; --runs names others.
"""

from dialsum_trl import report

RECIPE = dict()

if __name__ == "__main__":
    report(RECIPE)
