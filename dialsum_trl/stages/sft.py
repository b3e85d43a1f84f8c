"""QLoRA supervised fine-tuning: the story of the job, read top to bottom in `train_sft`."""

from dataclasses import dataclass

from dialsum_trl.core.settings.defaults import LORA_ALPHA, LORA_DROPOUT, LORA_R, MAX_LENGTH, MAX_NEW_TOKENS
from dialsum_trl.core.settings.flags import flag

# The design's verified LoRA and optimizer settings, shared by the four recipes: the one home of each value.
SFT_SETTINGS = dict(
    lora_r=LORA_R,
    lora_alpha=LORA_ALPHA,
    lora_dropout=LORA_DROPOUT,  # on q/k/v/o/gate/up/down, bias none (defaults of ModelArguments)
    num_train_epochs=3,
    per_device_train_batch_size=8,
    effective_batch_size=64,  # 8 x accumulation 8 on one GPU; derived for any number of processes
    learning_rate=2e-5,  # another corpus' value; on Korean DialogSum also sweep 5e-5 and 1e-4
    lr_scheduler_type="cosine",
    warmup_steps=0.1,  # below 1: a share of all steps
    optim="paged_adamw_32bit",
    max_grad_norm=1.2,
    weight_decay=0.1,
    activation_checkpointing=True,
    activation_checkpointing_kwargs={"use_reentrant": False},
    max_length=MAX_LENGTH,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="eval_loss",  # rouge_mean chooses by the summaries instead
    logging_steps=10,
    logging_nan_inf_filter=False,  # it would average NaN steps away
    ddp_find_unused_parameters=False,  # every adapter takes part in every step; looking for idle ones costs time
    ddp_broadcast_buffers=False,  # the only ones are rotary frequencies, the same everywhere
)


@dataclass
class SFTArguments:
    effective_batch_size: int = flag(
        64, "Rows an optimizer step over all processes; accumulation is derived unless given."
    )
    fast: bool = flag(True, "Packing, variable-length attention and compiled layers; false: plain TRL, padded.")
    memory_gib: float | None = flag(None, "GPU memory to stay within, GiB; default: what the GPU has free.")
    rouge_rows: int = flag(32, "Dev rows summarized at each evaluation for ROUGE; 0 switches it off.")
    rouge_max_new_tokens: int = flag(MAX_NEW_TOKENS, "Longest summary in those evaluations, tokens.")
