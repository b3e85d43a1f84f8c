"""Flags that come with a group or a trainer and that several stages do not read."""

from dialsum_trl.core.settings.unread import Unread

NO_NEW_ADAPTER = Unread(
    ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"), "no new adapter is made here; leave it out"
)
TRAINING_ONLY = Unread(
    ("use_peft", "attn_implementation", "bnb_4bit_quant_storage", "instructions"),
    "it belongs to training; leave it out",
)
LABEL_SMOOTHING = Unread(("label_smoothing_factor",), "its loss has no labels to smooth; leave it out")
TRUNCATION_MODE = Unread(
    ("truncation_mode",),
    "what is longer than --max_length loses turns from the middle of its dialogue; leave it out",
)
ONE_BEAM = Unread(
    ("length_penalty",),
    "it weighs beams, and there is one; leave it out, or raise --num_beams",
    lambda values: values["num_beams"] == 1,
)


def _our_sampling(values: dict) -> bool:
    """Whether `rl.rollouts` samples, and not vLLM or transformers' continuous batching."""
    return not any(
        values[f"use_{engine}"] for engine in ("vllm", "transformers_continuous_batching", "transformers_paged")
    )


ROLLOUTS = (
    Unread(
        ("top_k", "min_p", "repetition_penalty", "generation_kwargs"),
        "summaries are sampled by --temperature and --top_p; leave it out, or give --use_vllm true",
        _our_sampling,
    ),
    Unread(("num_generations_eval",), "dev summaries are greedy, one per dialogue; leave it out"),
    LABEL_SMOOTHING,
)


def rows_come_from(flag: str) -> Unread:
    """The flags of `DataArguments` that name other rows than `flag` does."""
    names = {"train_file", "eval_file", "dataset_name", "drop_shared_rows"} - {flag.removeprefix("--")}
    rows = "--test_file" if flag == "--test_file" else flag
    return Unread(tuple(sorted(names)), f"give rows as {rows}")
