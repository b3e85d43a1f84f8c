"""QLoRA SFT of Qwen2.5-7B-Instruct for Korean dialogue summarization.

    accelerate launch recipes/sft_qwen25_7b.py --train_file data/train.csv --eval_file data/dev.csv
    accelerate launch --config_file accelerate_configs/ddp.yaml recipes/sft_qwen25_7b.py ...

LoRA and optimizer settings that all four recipes share: SFT_SETTINGS in dialsum_trl/sft.py. Any of them, and every
field of trl.SFTConfig, can stand here, in a --config YAML or on the command line.
"""

from dialsum_trl.stages.jobs.sft import train_sft

RECIPE = dict(
    model_name_or_path="Qwen/Qwen2.5-7B-Instruct",
    dtype="float16",  # 4-bit compute dtype and mixed precision follow it
    output_dir="outputs/sft_qwen25_7b",
)

if __name__ == "__main__":
    train_sft(RECIPE)
