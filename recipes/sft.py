"""QLoRA SFT of any causal model for Korean dialogue summarization.

    accelerate launch recipes/sft.py --model_name_or_path LGAI-EXAONE/EXAONE-4.0-1.2B --train_file data/train.csv \
        --eval_file data/dev.csv
    accelerate launch --config_file accelerate_configs/ddp.yaml recipes/sft.py --model_name_or_path MODEL ...

The model is required. Template, stop tokens, LoRA layers and kernels are found from it: docs/models.md.
Every field of trl.SFTConfig and every flag of --help can be set here, in a --config YAML or on the command line.
"""

from dialsum_trl import train_sft

RECIPE = dict(
    dtype="auto",  # the model's own: float16, or bfloat16 where the GPU has it; mixed precision follows
    quantization="4bit",  # nf4, double quantization
    lora_r=16,
    lora_alpha=32,
    lora_dropout=0.05,
    # an architecture without these gets LoRA on all linear layers of its own
    lora_target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    num_train_epochs=3,
    per_device_train_batch_size=8,
    effective_batch_size=64,  # rows per optimizer step; accumulation is derived for any number of GPUs
    learning_rate=2e-5,  # chosen on another corpus; on Korean DialogSum also try 5e-5 and 1e-4
    lr_scheduler_type="cosine",
    warmup_steps=0.1,  # below 1: a share of all steps
    optim="paged_adamw_32bit",
    max_grad_norm=1.2,
    weight_decay=0.1,
    max_length=1024,  # tokens of prompt and summary; 512 would cut 6 % of the rows
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="eval_loss",  # rouge_mean chooses by the summaries instead
    output_dir="outputs/sft",
)

if __name__ == "__main__":
    train_sft(RECIPE)
