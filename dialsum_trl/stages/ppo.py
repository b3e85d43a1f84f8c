"""PPO from an SFT adapter: the story of the job, read top to bottom in `train_ppo`."""

from dialsum_trl.core.settings.defaults import MAX_NEW_TOKENS

PPO_SETTINGS = dict(
    learning_rate=1e-5,
    critic_learning_rate=5e-5,
    lr_scheduler_type="constant_with_warmup",
    warmup_steps=4,
    num_train_epochs=1,
    per_device_train_batch_size=16,  # fewer where a rollout does not divide among that many processes
    rollout_batch_size=64,
    ppo_epochs=2,
    kl_coef=0.05,
    max_grad_norm=1.0,
    max_completion_length=MAX_NEW_TOKENS,
    activation_checkpointing=True,
    activation_checkpointing_kwargs={"use_reentrant": False},
    eval_strategy="steps",
    eval_steps=20,
    eval_on_start=True,  # the tripwire on dev ROUGE measures from here
    save_strategy="steps",
    save_steps=20,
    save_total_limit=2,
    logging_steps=2,
    logging_nan_inf_filter=False,
)
