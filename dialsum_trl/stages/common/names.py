"""The twelve names, which of them train, which need the whole model on every process."""

# Stages whose trainer synchronizes its own gradients: every process needs the whole model and its own optimizer.
REPLICATED_ONLY = ("ppo",)
# Stages that train nothing: every process holds the whole model and takes its share of the rows.
INFERENCE = ("predict", "ensemble", "preferences", "decoding_sweep", "postprocess", "report")
STAGES = (
    "sft", "seq2seq", "preferences", "reward", "ppo", "dpo", "grpo", "predict", "ensemble", "postprocess",
    "decoding_sweep", "report",
)  # fmt: skip
