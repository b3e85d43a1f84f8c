"""GRPO: PPO's rewards without a critic; each summary is compared with others of the same dialogue.

    accelerate launch recipes/grpo.py --adapter_path outputs/sft_llama3b --train_file data/train.csv \
        --eval_file data/dev.csv --reward_functions rouge mask_fidelity --reward_weights 1.0 0.2

Base, dtype and LoRA are the adapter's. Every field of trl.GRPOConfig is a flag too.
"""

from dialsum_trl import train_grpo

RECIPE = dict(
    reward_functions=["rouge"],
    learning_rate=1e-5,
    beta=0.04,  # KL to the SFT adapter; TRL's default of 0 lets the policy drift
    num_generations=8,  # summaries per dialogue that are compared with each other
    per_device_train_batch_size=8,
    gradient_accumulation_steps=8,
    max_completion_length=100,
    mask_truncated_completions=True,  # summaries cut by the limit are left out of the loss
    num_train_epochs=1,
    lr_scheduler_type="constant_with_warmup",
    warmup_steps=4,
    max_grad_norm=1.0,
    eval_strategy="steps",
    eval_steps=20,
    save_strategy="steps",
    save_steps=20,
    save_total_limit=2,
    output_dir="outputs/grpo",
)

if __name__ == "__main__":
    train_grpo(RECIPE)
