"""Flags that a stage takes and nothing reads, one table."""

from dialsum_trl.core.settings.unread import Unread


def _samples_here(values: dict) -> bool:
    """Whether `rl.rollouts` samples, and not vLLM or transformers' continuous batching."""
    return not any(
        values[f"use_{engine}"] for engine in ("vllm", "transformers_continuous_batching", "transformers_paged")
    )


TABLE = (
    Unread(
        ("ppo", "grpo"),
        ("top_k", "min_p", "repetition_penalty", "generation_kwargs"),
        "summaries are sampled by --temperature and --top_p; leave it out, or give --use_vllm true",
        _samples_here,
    ),
    Unread(
        ("ppo",),
        (
            *("epsilon_high", "delta", "loss_type", "importance_sampling_level", "mask_truncated_completions"),
            *("scale_rewards", "multi_objective_aggregation", "top_entropy_quantile", "off_policy_mask_threshold"),
            *("entropy_coef", "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta"),
            *("entropy_target", "use_bias_correction_kl", "sapo_temperature_neg", "sapo_temperature_pos"),
            *("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"),
            *("vllm_importance_sampling_correction", "vllm_importance_sampling_mode"),
            *("vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min", "vllm_importance_sampling_cap"),
        ),
        "it belongs to GRPO's loss; leave it out, or use recipes/grpo.py",
    ),
    Unread(("ppo", "grpo"), ("num_generations_eval",), "dev summaries are greedy, one a dialogue; leave it out"),
    Unread(("ppo", "grpo", "reward"), ("label_smoothing_factor",), "its loss has no labels to smooth; leave it out"),
    Unread(("dpo",), ("label_smoothing_factor",), "its loss has no labels to smooth; use --label_smoothing"),
    Unread(
        ("sft",),
        ("dataloader_drop_last", "train_sampling_strategy"),
        "a schedule of packs deals all rows in an order of its own; leave it out, or give --fast false",
        lambda values: values["fast"],
    ),
    Unread(("sft",), ("completion_only_loss",), "the summary alone is learned; leave it out", fine=(True,)),
    Unread(("sft",), ("eos_token",), "the chat template says what ends a turn; leave it out"),
    Unread(
        ("sft", "dpo"),
        ("truncation_mode",),
        "what is longer than --max_length loses turns from the middle of its dialogue; leave it out",
    ),
    Unread(
        ("predict", "decoding_sweep", "preferences", "ensemble", "seq2seq"),
        ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"),
        "no new adapter is made here; leave it out",
    ),
    Unread(("seq2seq",), ("adapter_path", "bnb_4bit_quant_storage"), "all weights are trained; leave it out"),
    Unread(
        ("predict", "decoding_sweep", "preferences", "ensemble"),
        ("use_peft", "attn_implementation", "bnb_4bit_quant_storage", "instructions"),
        "it belongs to training; leave it out",
    ),
    Unread(
        ("predict", "ensemble", "postprocess"),
        ("train_file", "eval_file", "dataset_name", "drop_shared_rows"),
        "give rows as --test_file",
    ),
    Unread(("report",), ("eval_file", "dataset_name", "drop_shared_rows"), "give rows as --test_file"),
    Unread(("decoding_sweep",), ("train_file", "dataset_name", "drop_shared_rows"), "give rows as --eval_file"),
    Unread(("preferences",), ("eval_file", "dataset_name", "drop_shared_rows"), "give rows as --train_file"),
    Unread(
        ("predict",),
        ("temperature", "top_p"),
        "beams are searched, not sampled; leave it out, or add --do_sample true --num_beams 1",
        lambda values: not values["do_sample"],
    ),
    Unread(
        ("predict", "preferences"),
        ("length_penalty",),
        "it weighs beams, and there is one; leave it out, or raise --num_beams",
        lambda values: values["num_beams"] == 1,
    ),
    Unread(("decoding_sweep",), ("temperature", "top_p"), "beams are searched, not sampled; leave it out"),
    Unread(("sft",), ("shuffle_dataset",), "every epoch is shuffled, by --data_seed; leave it out"),
)
