"""Self-distillation: the SFT adapter learns to write greedily what 16 of its samples agree on.

    accelerate launch recipes/distill.py --adapter_path outputs/sft_llama3b --train_file data/train.csv \
        --eval_file data/dev.csv --unlabelled_files data/test.csv
    ... --learn sft dpo --rounds 2
    ... --folds_dir outputs/folds                    # samples of adapters that have not seen the dialogue

Samples are ranked by their ROUGE against each other; references serve dev scores alone. Base, dtype and LoRA are the
adapter's. A stopped run continues with the same command.
"""

from dialsum_trl import distill

RECIPE = dict(
    samples=16,
    temperature=0.7,
    learn=["sft"],
    sft=dict(num_train_epochs=2, learning_rate=2e-5),  # as recipes/sft_llama3b.py: the rate that fits the model
    dpo=dict(num_train_epochs=1, learning_rate=5e-6),
    output_dir="outputs/distill",
)

if __name__ == "__main__":
    distill(RECIPE)
