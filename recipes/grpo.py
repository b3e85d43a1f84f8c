"""GRPO: PPO's rewards without a critic; each summary is compared with others of the same dialogue.

    accelerate launch recipes/grpo.py --adapter_path outputs/sft_llama3b --train_file data/train.csv \
        --eval_file data/dev.csv --reward_functions rouge mask_fidelity --reward_weights 1.0 0.2

Settings: GRPO_SETTINGS in dialsum_trl/grpo.py, every field of trl.GRPOConfig.
"""

from dialsum_trl.stages.jobs.grpo import train_grpo

RECIPE = dict(output_dir="outputs/grpo")

if __name__ == "__main__":
    train_grpo(RECIPE)
