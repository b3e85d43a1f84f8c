"""DPO: the SFT adapter learns to prefer the better of two summaries, without a reward model.

    accelerate launch recipes/dpo.py --adapter_path outputs/sft_llama3b --pairs_file outputs/preferences/pairs.jsonl

Settings: DPO_SETTINGS in dialsum_trl/dpo.py, every field of trl.DPOConfig.
"""

from dialsum_trl.stages.jobs.dpo import train_dpo

RECIPE = dict(output_dir="outputs/dpo")

if __name__ == "__main__":
    train_dpo(RECIPE)
