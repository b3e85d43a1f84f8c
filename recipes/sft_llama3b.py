"""QLoRA SFT of Llama-3.2-Korean-Bllossom-3B for Korean dialogue summarization.

    accelerate launch recipes/sft_llama3b.py --train_file data/train.csv --eval_file data/dev.csv
    accelerate launch --config_file accelerate_configs/ddp.yaml recipes/sft_llama3b.py ...

LoRA and optimizer settings that all four recipes share: SFT_SETTINGS in dialsum_trl/sft.py. Any of them, and every
field of trl.SFTConfig, can stand here, in a --config YAML or on the command line.
"""

from dialsum_trl.stages.jobs.sft import train_sft

RECIPE = dict(
    model_name_or_path="Bllossom/llama-3.2-Korean-Bllossom-3B",
    dtype="bfloat16",  # 4-bit compute dtype and mixed precision follow it
    output_dir="outputs/sft_llama3b",
)

if __name__ == "__main__":
    train_sft(RECIPE)
