"""Every field of a trainer's configuration is a flag: each is known to change something, or refused."""

from dataclasses import fields

import pytest
from transformers import Seq2SeqTrainingArguments
from trl import DPOConfig, GRPOConfig, RewardConfig, SFTConfig

from dialsum_trl.core.errors import InputError
from dialsum_trl.rl.ppo_config import PPOConfig
from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.grpo import train_grpo
from dialsum_trl.stages.ppo import train_ppo
from dialsum_trl.stages.reward import train_reward
from dialsum_trl.stages.seq2seq import train_seq2seq
from dialsum_trl.stages.sft import train_sft

TRAINED = {
    train_sft: SFTConfig,
    train_dpo: DPOConfig,
    train_reward: RewardConfig,
    train_grpo: GRPOConfig,
    train_ppo: PPOConfig,
    train_seq2seq: Seq2SeqTrainingArguments,
}

# Fields that change what a run does, by kind. Those that one path alone reads are refused on the other one: `unread`.
OPTIMIZER = """
    learning_rate weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm optim optim_args optim_target_modules
    neftune_noise_alpha label_smoothing_factor
"""
SCHEDULE = "lr_scheduler_type lr_scheduler_kwargs warmup_steps num_train_epochs max_steps"
BATCHES = """
    per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps average_tokens_across_devices
    auto_find_batch_size seed data_seed full_determinism
"""
LOADER = """
    dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order train_sampling_strategy
    remove_unused_columns accelerator_config ignore_data_skip
"""
EVALUATION = """
    eval_strategy eval_steps eval_delay eval_on_start eval_accumulation_steps prediction_loss_only batch_eval_metrics
    eval_do_concat_batches eval_use_gather_object include_for_metrics label_names metric_for_best_model
    greater_is_better load_best_model_at_end bf16_full_eval fp16_full_eval
"""
SAVING = """
    output_dir save_strategy save_steps save_total_limit save_on_each_node save_only_model resume_from_checkpoint
    restore_callback_states_from_checkpoint enable_jit_checkpoint
"""
LOGGING = """
    logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level log_level_replica
    log_on_each_node report_to run_name project trackio_space_id trackio_static_space_id trackio_bucket_id disable_tqdm
    skip_memory_metrics include_num_input_tokens_seen
"""
PRECISION = "bf16 fp16 tf32"
MEMORY = """
    activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs
    torch_empty_cache_steps use_cache
"""
SPEED = "use_liger_kernel liger_kernel_config torch_compile torch_compile_backend torch_compile_mode use_cpu"
DISTRIBUTED = """
    local_rank ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph
    ddp_timeout deepspeed fsdp fsdp_config parallelism_config debug
"""
HUB = "push_to_hub hub_model_id hub_private_repo hub_token"  # the last is refused: it would end in logs
KINDS = (OPTIMIZER, SCHEDULE, BATCHES, LOADER, EVALUATION, SAVING, LOGGING, PRECISION, MEMORY, SPEED, DISTRIBUTED, HUB)
EVERYWHERE = " ".join(KINDS).split()

ROLLOUTS = """
    num_generations max_completion_length generation_batch_size steps_per_generation temperature top_p shuffle_dataset
    use_vllm use_transformers_continuous_batching use_transformers_paged num_iterations epsilon beta reward_weights
    disable_dropout cast_lm_head_to_fp32 log_completions
"""
OF_STAGE = {
    "sft": """
        max_length trust_remote_code loss_type router_aux_loss_coef activation_offloading chat_template_path
        padding_free pad_to_multiple_of
    """,
    "dpo": """
        max_length trust_remote_code router_aux_loss_coef disable_dropout padding_free pad_to_multiple_of
        precompute_ref_log_probs precompute_ref_batch_size loss_type loss_weights ld_alpha f_divergence_type
        f_alpha_divergence_coef label_smoothing beta use_weighting discopop_tau activation_offloading
    """,
    "reward": """
        max_length trust_remote_code disable_dropout dataset_num_proc pad_to_multiple_of center_rewards_coefficient
        activation_offloading
    """,
    "grpo": ROLLOUTS
    + """
        trust_remote_code router_aux_loss_coef pad_to_multiple_of delta epsilon_high loss_type scale_rewards
        sapo_temperature_neg sapo_temperature_pos vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg
        importance_sampling_level multi_objective_aggregation mask_truncated_completions top_entropy_quantile
        entropy_coef use_adaptive_entropy entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target
        off_policy_mask_threshold use_bias_correction_kl
    """,
    "ppo": ROLLOUTS
    + """
        trust_remote_code rollout_batch_size num_mini_batches ppo_epochs fast kl_coef gamma lam whiten_advantages
        value_clip critic_learning_rate missing_end_penalty kl_target max_truncated baseline normalize_rewards
    """,
    "seq2seq": "predict_with_generate generation_max_length generation_num_beams generation_config",
}


def refused(stage) -> set[str]:
    return {name for row in stage.unread for name in row.names}


@pytest.mark.parametrize("train", TRAINED, ids=lambda train: train.stage.name)
def test_every_field_is_read_or_refused(train):
    names = {field.name for field in fields(TRAINED[train]) if field.init}
    read = {*EVERYWHERE, *OF_STAGE[train.stage.name].split()}
    unsorted = names - read - refused(train.stage)
    assert unsorted == set(), "see who reads it: a kind of this test, or a row of the stage's `unread`"
    assert read - names == set(), "the configuration no longer has it"


PLAIN = ("--use_cpu", "true", "--dtype", "float32", "--quantization", "none")
PACKS = "packs are dealt to the processes by a plan of their own"


@pytest.mark.parametrize(
    ("train", "flag", "value", "remedy"),
    [
        (train_sft, "packing", "true", "packed already"),
        (train_sft, "pad_token", "<|eot_id|>", "padding is masked out"),
        (train_sft, "model_init_kwargs", '{"num_hidden_layers": 1}', "--dtype, --quantization"),
        (train_sft, "dataset_text_field", "dialogue", "--dialogue_column and --summary_column"),
        (train_sft, "accelerator_config", '{"split_batches": true}', PACKS),
        (train_sft, "accelerator_config", '{"use_seedable_sampler": false}', PACKS),
        (train_sft, "padding_free", "true", "--fast false"),
        (train_sft, "assistant_only_loss", "true", "leave it out"),
        (train_sft, "auto_find_batch_size", "true", "--fast false"),
        (train_sft, "hub_strategy", "end", "one push, at the end"),
        (train_dpo, "sync_ref_model", "true", "the SFT adapter and stays"),
        (train_dpo, "do_predict", "true", "recipes/predict.py"),
        (train_reward, "eos_token", "<|eot_id|>", "how a turn is written"),
        (train_ppo, "gradient_accumulation_steps", "2", "--rollout_batch_size, --num_mini_batches"),
        (train_ppo, "steps_per_generation", "2", "--rollout_batch_size, --num_mini_batches"),
        (train_ppo, "accelerator_config", '{"split_batches": true}', "dealt whole"),
        (train_ppo, "vllm_gpu_memory_utilization", "0.5", "--use_vllm true"),
        (train_grpo, "per_device_eval_batch_size", "2", "write summaries"),
        (train_grpo, "cache_implementation", "static", "sampled here"),
        (train_seq2seq, "sortish_sampler", "true", "group_by_length"),
    ],
)
def test_what_the_fast_path_or_the_trainer_overrides_is_refused(train, flag, value, remedy):
    with pytest.raises(InputError, match=f"has no effect in {train.stage.name}: .*{remedy}"):
        train({}, [f"--{flag}", value])


@pytest.mark.parametrize("value", ['{"non_blocking": true}', '{"gradient_accumulation_kwargs": {}}'])
def test_other_settings_of_accelerate_are_passed_on(value, tmp_path):
    with pytest.raises(InputError, match=r"^no model: give --model_name_or_path"):
        train_sft(
            {}, ["--accelerator_config", value, "--train_file", "none.csv", *PLAIN, "--output_dir", str(tmp_path)]
        )


def test_the_plain_path_reads_what_packs_do_not(tmp_path):
    words = ["--fast", "false", "--accelerator_config", '{"split_batches": true}', "--padding_free", "true"]
    with pytest.raises(InputError, match=r"^no model: give --model_name_or_path"):
        train_sft({}, [*words, "--train_file", "none.csv", *PLAIN, "--output_dir", str(tmp_path)])
