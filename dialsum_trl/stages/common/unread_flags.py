"""Flags that come with a group or a trainer and that several stages do not read."""

import json
from pathlib import Path

from dialsum_trl.core.settings.stage import Unread

NEW_ADAPTER = """
    lora_r lora_alpha lora_dropout lora_target_modules use_dora use_rslora init_lora_weights rank_pattern alpha_pattern
"""
NO_NEW_ADAPTER = Unread(NEW_ADAPTER, "no new adapter is made here")
TRAINING_ONLY = Unread(
    "use_peft attn_implementation bnb_4bit_quant_storage instructions",
    "it belongs to training",
)
LABEL_SMOOTHING = Unread("label_smoothing_factor", "its loss has no labels to smooth")
TRUNCATION_MODE = Unread(
    "truncation_mode",
    "what is longer than --max_length loses turns from the middle of its dialogue",
)
ONE_BEAM = Unread(
    "length_penalty",
    "it weighs beams, and there is one; leave it out, or raise --num_beams",
    lambda values: values["num_beams"] == 1,
)
MODEL_SCORES = tuple(
    Unread(
        f"{name}_model",
        f"it is of {name}; add --metrics rouge {name}, or leave it out",
        lambda values, name=name: name not in values["metrics"],
    )
    for name in ("bertscore", "bleurt")
)

LOADING = Unread("model_init_kwargs", "the base is loaded as --dtype, --quantization and --attn_implementation say")
TRAINING = (
    Unread("do_train do_predict", "a training recipe trains, and recipes/predict.py predicts"),
    Unread("do_eval", "--eval_strategy says whether there are evaluations"),
    Unread("hub_strategy hub_always_push hub_revision", "there is one push, at the end and to the main branch"),
    Unread("length_column_name", "rows have no column of lengths"),
)
PAD_TOKEN = Unread("pad_token", "padding is masked out, whatever its token")
OWN_TOKENIZER = Unread("eos_token chat_template_path", "the adapter's tokenizer says how a turn is written and ended")
FIXED_REFERENCE = Unread(
    "sync_ref_model ref_model_mixup_alpha ref_model_sync_steps",
    "the reference is the SFT adapter and stays",
)
LOADER_KEYS = {"split_batches", "dispatch_batches", "even_batches", "use_seedable_sampler"}


def deals_rows(values: dict) -> bool:
    """Whether `--accelerator_config` says how a data loader deals its rows to processes."""
    config = values["accelerator_config"]
    if isinstance(config, str):
        try:
            config = json.loads(config if config.lstrip().startswith("{") else Path(config).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # the trainer's configuration says what is wrong with it
            return False
    return bool(LOADER_KEYS & set(config or ()))


def _our_sampling(values: dict) -> bool:
    """Whether `rl.rollouts` samples, and not vLLM or transformers' continuous batching."""
    return not any(
        values[f"use_{engine}"] for engine in ("vllm", "transformers_continuous_batching", "transformers_paged")
    )


VLLM = (
    "vllm_mode vllm_model_impl vllm_enable_sleep_mode vllm_structured_outputs_regex vllm_server_base_url "
    "vllm_server_host vllm_server_port vllm_server_timeout vllm_group_port vllm_gpu_memory_utilization "
    "vllm_max_model_length vllm_tensor_parallel_size"
)
IMPORTANCE_SAMPLING = (
    "vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_clip_max "
    "vllm_importance_sampling_clip_min vllm_importance_sampling_cap"
)
EVALUATION = (
    "per_device_eval_batch_size eval_accumulation_steps prediction_loss_only batch_eval_metrics "
    "eval_do_concat_batches eval_use_gather_object include_for_metrics bf16_full_eval fp16_full_eval "
    "label_names"
)


ROLLOUTS = (
    Unread(
        "top_k min_p repetition_penalty generation_kwargs",
        "summaries are sampled by --temperature and --top_p; leave it out, or give --use_vllm true",
        _our_sampling,
    ),
    Unread(
        "cache_implementation ds3_gather_for_generation",
        "it belongs to generation by transformers, and summaries are sampled here",
        _our_sampling,
    ),
    Unread(VLLM, "it belongs to vLLM; leave it out, or give --use_vllm true", lambda values: not values["use_vllm"]),
    Unread(
        "transformers_continuous_batching_config",
        "it needs --use_transformers_continuous_batching true; give that too, or leave it out",
        lambda values: not (values["use_transformers_continuous_batching"] or values["use_transformers_paged"]),
    ),
    Unread("num_generations_eval", "dev summaries are greedy, one per dialogue"),
    Unread(EVALUATION, "evaluations write summaries and score them"),
    Unread("chat_template_kwargs", "prompts are rendered as the SFT adapter's were"),
    Unread("max_tool_calling_iterations log_multimodal", "there are no tools and no images"),
    Unread(
        "log_unique_prompts num_completions_to_print log_completions_hub_repo",
        "completions are not logged; leave it out, or give --log_completions true",
        lambda values: not values["log_completions"],
    ),
    Unread(
        "dataloader_drop_last train_sampling_strategy auto_find_batch_size remove_unused_columns",
        "rollouts are dealt whole, in an order of their own",
    ),
    Unread("accelerator_config", "rollouts are dealt whole, in an order of their own", deals_rows),
    FIXED_REFERENCE,
    LABEL_SMOOTHING,
)


def rows_come_from(flag: str) -> Unread:
    """The flags of `DataArguments` that name other rows than `flag` does."""
    others = "train_file eval_file dataset_name dataset_config dataset_train_split dataset_eval_split drop_shared_rows"
    return Unread(others.replace(flag.removeprefix("--"), ""), f"it names other rows; give rows as {flag}")
