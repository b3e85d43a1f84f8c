"""PPO: an SFT adapter learns from rewards, with a KL penalty to its start.

    accelerate launch recipes/ppo.py --adapter_path outputs/sft_llama3b --reward_adapter_path outputs/reward \
        --train_file data/train.csv --eval_file data/dev.csv
    ... --reward_functions rouge mask_fidelity --reward_weights 1.0 0.2     # no reward model

One 4-bit base carries policy, reference, critic and reward as adapters; base, dtype and LoRA are the SFT adapter's.
Every field of PPOConfig (dialsum_trl/rl/ppo_config.py) and of trl.GRPOConfig is a flag too.
"""

from dialsum_trl import train_ppo

RECIPE = dict(
    reward_functions=["rouge"],
    learning_rate=1e-5,
    critic_learning_rate=5e-5,
    rollout_batch_size=64,  # summaries sampled before each update phase
    ppo_epochs=2,  # passes over a rollout
    kl_coef=0.05,  # of the KL to the SFT adapter, inside the reward
    kl_target=10.0,  # nats per summary: above it the run stops
    max_rouge_drop=2.0,  # points of dev ROUGE below the start: below that it stops too
    per_device_train_batch_size=16,
    max_completion_length=100,
    num_train_epochs=1,
    lr_scheduler_type="constant_with_warmup",
    warmup_steps=4,
    max_grad_norm=1.0,
    eval_strategy="steps",
    eval_steps=20,
    save_strategy="steps",
    save_steps=20,
    save_total_limit=2,
    output_dir="outputs/ppo",
)

if __name__ == "__main__":
    train_ppo(RECIPE)
