"""DPO: the SFT adapter learns to prefer the better of two summaries, without a reward model.

    accelerate launch recipes/dpo.py --adapter_path outputs/sft_llama3b --pairs_file outputs/preferences/pairs.jsonl

Base, dtype and LoRA are the adapter's. Every field of trl.DPOConfig is a flag too.
"""

from dialsum_trl import train_dpo

RECIPE = dict(
    learning_rate=5e-6,
    beta=0.1,  # how far the policy may leave the SFT adapter, which is the reference
    num_train_epochs=1,
    per_device_train_batch_size=4,
    effective_batch_size=32,  # pairs per optimizer step
    lr_scheduler_type="cosine",
    warmup_steps=0.1,  # below 1: a share of all steps
    max_grad_norm=1.0,
    max_length=1024,
    held_out=0.1,  # share of the dialogues whose pairs are evaluated on
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=1,
    output_dir="outputs/dpo",
)

if __name__ == "__main__":
    train_dpo(RECIPE)
