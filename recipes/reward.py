"""A reward model: the SFT adapter learns which of two summaries is better.

    accelerate launch recipes/reward.py --adapter_path outputs/sft_llama3b --pairs_file outputs/preferences/pairs.jsonl

4-bit base, LoRA and a score head that stays in float32. Base and dtype are the adapter's; every field of
trl.RewardConfig is a flag too. Fails if the held-out accuracy does not beat "the longer wins" and "the shorter wins".
"""

from dialsum_trl import train_reward

RECIPE = dict(
    learning_rate=1e-4,
    num_train_epochs=1,  # a second pass overfits pairs
    per_device_train_batch_size=8,
    effective_batch_size=32,  # pairs per optimizer step
    lr_scheduler_type="cosine",
    warmup_steps=0.1,  # below 1: a share of all steps
    max_grad_norm=1.0,
    max_length=1024,
    center_rewards_coefficient=0.01,  # scores around 0: only differences are trained otherwise
    held_out=0.1,  # share of the dialogues whose pairs are evaluated at the end
    min_margin=0.05,  # by which that accuracy must beat "the longer wins" and "the shorter wins"
    save_strategy="epoch",
    save_total_limit=1,
    output_dir="outputs/reward",
)

if __name__ == "__main__":
    train_reward(RECIPE)
