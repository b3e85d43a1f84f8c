"""Defaults that several flags, functions and settings share: the one home of each value."""

MAX_LENGTH = 1024  # tokens of prompt + summary; 512 cuts 6 % of the Korean DialogSum rows
MAX_NEW_TOKENS = 100  # of a summary
NUM_BEAMS = 4
SEED = 42
BOOTSTRAP = 1000  # resamples of a 95 % interval

LORA_R = 16
LORA_ALPHA = 32
LORA_DROPOUT = 0.05
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

ROUGE_TOKENIZER = "mecab"  # morphemes, as the competition counts
ROUGE_MASKS = "split"
ROUGE_REFERENCES = "mean"

ADAPTER_TRAINING = dict(  # of every stage that trains adapters
    activation_checkpointing=True,
    activation_checkpointing_kwargs={"use_reentrant": False},
    logging_nan_inf_filter=False,  # it would average NaN steps away
)
