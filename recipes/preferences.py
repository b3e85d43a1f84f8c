"""Preference pairs without labels, for recipes/reward.py and recipes/dpo.py.

    accelerate launch recipes/preferences.py --adapter_path outputs/sft_llama3b --train_file data/unseen.csv

Rows that the adapter was trained on are an error. With two folds: --train_file data/train.csv --write_folds data/folds,
SFT on each, then this recipe with each adapter on the other fold and another --output_dir; join the two pairs.jsonl.
"""

from dialsum_trl import make_preferences

RECIPE = dict(
    samples=6,
    output_dir="outputs/preferences",
)

if __name__ == "__main__":
    make_preferences(RECIPE)
