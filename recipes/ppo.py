"""PPO: an SFT adapter learns from rewards, held to where it started by a KL penalty.

    accelerate launch recipes/ppo.py --adapter_path outputs/sft_llama3b --reward_adapter_path outputs/reward \
        --train_file data/train.csv --eval_file data/dev.csv
    ... --reward_functions rouge mask_fidelity --reward_weights 1.0 0.2     # no reward model at all

One 4-bit base carries policy, reference, critic and reward as adapters. Settings: PPO_SETTINGS in dialsum_trl/ppo.py,
PPOConfig in dialsum_trl/rl/ppo_config.py, every field of trl.GRPOConfig.
"""

from dialsum_trl.stages.jobs.ppo import train_ppo

RECIPE = dict(output_dir="outputs/ppo")

if __name__ == "__main__":
    train_ppo(RECIPE)
