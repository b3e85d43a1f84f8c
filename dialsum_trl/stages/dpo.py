"""DPO from an SFT adapter: preference pairs through TRL's DPOTrainer, reference = the SFT adapter."""

from dialsum_trl.core.settings.defaults import MAX_LENGTH

DPO_SETTINGS = dict(
    learning_rate=5e-6,
    beta=0.1,
    num_train_epochs=1,
    per_device_train_batch_size=4,
    lr_scheduler_type="cosine",
    warmup_steps=0.1,
    max_grad_norm=1.0,
    max_length=MAX_LENGTH,
    activation_checkpointing=True,
    activation_checkpointing_kwargs={"use_reentrant": False},
    ddp_find_unused_parameters=False,  # every adapter takes part in every step
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=1,
    logging_steps=10,
    logging_first_step=True,  # the first loss, which a run that continues reads in its log
    logging_nan_inf_filter=False,
)
