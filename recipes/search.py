"""Which learning rate, rank, epochs, dropout and prompt fit this model and these rows: trials of SFT, one chosen YAML.

    accelerate launch recipes/search.py --model_name_or_path LGAI-EXAONE/EXAONE-4.0-1.2B --train_file data/train.csv \
        --eval_file data/dev.csv
    ... --trials 24 --search_lora_r 8 16 32 --search_lora_dropout 0 0.05 0.1 --search_num_train_epochs 2 3 5
    accelerate launch recipes/sft.py --config outputs/search/chosen.yaml --train_file data/train.csv

Needs Optuna: pip install "dialsum-trl[search]". A trial that is worse than the median after an epoch is stopped; a
stopped search continues with the same command. The dev rows choose: score the result on rows that did not.
"""

from dialsum_trl import search

RECIPE = dict(
    dtype="auto",
    trials=12,
    search_learning_rate=[2e-5, 1e-3],
    search_num_train_epochs=[3],
    search_lora_r=[16],
    search_lora_dropout=[0.05],
    output_dir="outputs/search",
)

if __name__ == "__main__":
    search(RECIPE)
