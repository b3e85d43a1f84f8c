"""The names of the stages: sections of a `--config` file."""

STAGES = (
    "sft", "seq2seq", "preferences", "reward", "ppo", "dpo", "grpo", "predict", "ensemble", "postprocess",
    "decoding_sweep", "report",
)  # fmt: skip
