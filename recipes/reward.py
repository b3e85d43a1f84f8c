"""A reward model: the SFT adapter learns which of two summaries is better.

    accelerate launch recipes/reward.py --adapter_path outputs/sft_llama3b --pairs_file outputs/preferences/pairs.jsonl

4-bit base, LoRA and a score head that stays in float32. Settings: REWARD_SETTINGS in dialsum_trl/reward.py, every field
of trl.RewardConfig. Stops when the held-out accuracy does not beat "the longer wins" and "the shorter wins".
"""

from dialsum_trl.stages.jobs.reward import train_reward

RECIPE = dict(output_dir="outputs/reward")

if __name__ == "__main__":
    train_reward(RECIPE)
