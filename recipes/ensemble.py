"""The consensus (MBR) of several prediction files, or one adapter averaged from several.

    python recipes/ensemble.py --prediction_files a/submission.csv b/submission.csv c/submission.csv \
        --test_file data/dev.csv --output_dir outputs/ensemble
    python recipes/ensemble.py --adapter_paths outputs/seed1 outputs/seed2 --output_dir outputs/soup
    ... --adapter_paths a b c --greedy true --test_file data/dev.csv

Each file holds the summaries of one model, fold or sample for the same dialogues. Scores are printed if --test_file has
references. Adapters to average must have been trained further from the same one (--adapter_path).
"""

from dialsum_trl import ensemble

RECIPE = dict()

if __name__ == "__main__":
    ensemble(RECIPE)
