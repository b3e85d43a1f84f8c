"""Five adapters that leave out a fifth of the rows each: scores of every row out of fold, and one consensus.

    accelerate launch recipes/folds.py --train_file data/train.csv --test_file data/test.csv \
        --template data/sample_submission.csv
    ... --candidates 8 --prediction_files outputs/kobart outputs/ensemble     # samples and other systems vote too

An adapter is trained from scratch, or further from --adapter_path. The base is loaded once. A stopped run continues
with the same command; finished folds are not trained again.
"""

from dialsum_trl import train_folds

RECIPE = dict(
    model_name_or_path="Bllossom/llama-3.2-Korean-Bllossom-3B",
    folds=5,
    sft=dict(num_train_epochs=3, learning_rate=2e-5),  # without dev rows the last epoch is kept
    output_dir="outputs/folds",
)

if __name__ == "__main__":
    train_folds(RECIPE)
