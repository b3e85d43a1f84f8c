"""Whether a run that continues is the run that was started: what must stay as it was, and what may change.

Every setting must stay the same, except what this module lists: names and paths of files (their content counts), output
and logging, how rows are laid out in memory and over processes (an optimizer step sees the same rows), and which
implementation computes. So a change of a setting not listed here is an error, never silent.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.versions import __version__
from dialsum_trl.models.file_names import SETTINGS_FILE
from dialsum_trl.models.identity import adapter_identity, base_identity, digest, reward_identity

MAY_CHANGE = {  # of the trainers' fields; a flag of ours says so in its field (`settings.flags.flag`)
    # how the rows of a step divide depends on the machine
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    "steps_per_generation",
    # the same function in another implementation; accelerator_config: see ROW_ORDER
    *("activation_checkpointing", "activation_checkpointing_kwargs", "activation_offloading"),
    *("gradient_checkpointing", "gradient_checkpointing_kwargs"),
    *("accelerator_config", "bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "deepspeed", "parallelism_config"),
    *("use_cpu", "use_cache", "tf32", "use_liger_kernel", "liger_kernel_config", "full_determinism", "local_rank"),
    *("cast_lm_head_to_fp32", "ds3_gather_for_generation", "cache_implementation"),
    # how rows reach the trainer, not which: dataloader_drop_last is not among them
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor"),
    *("dataloader_in_order", "dataloader_multiprocessing_context"),
    # what is logged, printed and kept
    *("output_dir", "run_name", "report_to", "project", "push_to_hub", "disable_tqdm", "debug", "do_train", "do_eval"),
    *("do_predict", "load_best_model_at_end", "prediction_loss_only", "skip_memory_metrics", "batch_eval_metrics"),
    *("resume_from_checkpoint", "restore_callback_states_from_checkpoint", "enable_jit_checkpoint"),
    *("num_completions_to_print", "num_generations_eval"),
    # this package sets or does not use them
    *("model_init_kwargs", "dataset_kwargs", "dataset_num_proc", "chat_template_kwargs"),
    "optim",  # compared by what it computes
}
MAY_CHANGE_PREFIXES = ("ddp_", "eval_", "fsdp", "hub_", "include_", "log_", "logging_", "save_", "torch_")
MAY_CHANGE_PREFIXES += ("trackio_", "vllm_")
ROW_ORDER = ("use_seedable_sampler", "split_batches", "even_batches", "dispatch_batches")  # of accelerator_config
SCHEDULE = ("max_steps", "num_train_epochs")
ADAMW = ("adamw_torch", "adamw_torch_fused", "adamw_bnb_32bit", "paged_adamw_32bit", "paged_adamw")
CONTENT = ("dialogue", "summaries", "prompt", "chosen", "rejected")
ROW_DIGITS = 8  # hexadecimal, of a row's hash


def describe(args, groups, tokenizer, rows, examples, dev_rows=None) -> dict:
    """What a run is, for `same_run` of a later one. Call it before anything changes `args` to fit a machine.

    Args:
        args: the trainer's arguments, after `rows.batch_arithmetic`.
        groups: the dataclasses of flags.
        tokenizer: with the chat template that is used.
        rows, dev_rows: rows as they were read (`data.read_dialogues`, `pairs.read_pairs`).
        examples: what the trainer is given: token ids, or prompts.
    """
    flags, may_change = {}, set(MAY_CHANGE)
    for group in groups:
        flags |= asdict(group)
    for group in (*groups, args):
        may_change |= {item.name for item in fields(group) if item.metadata.get("may_change")}
    flags |= args.to_dict()
    # PPO and GRPO keep their best adapter, and stop, by what they see of these rows
    watched = "rouge" in (args.metric_for_best_model or "") or "max_rouge_drop" in flags
    kept = {
        name: value
        for name, value in flags.items()
        if name not in may_change
        and not name.startswith(MAY_CHANGE_PREFIXES)
        and (watched or name not in ("rouge_rows", "rouge_max_new_tokens"))
    }
    kept |= {f"accelerator_config.{name}": flags["accelerator_config"][name] for name in ROW_ORDER}
    if kept["max_steps"] > 0:
        del kept["num_train_epochs"]
    kept["optim"] = "AdamW in 32 bit" if flags["optim"] in ADAMW else flags["optim"]
    inputs = {
        "base model": base_identity(flags["model_name_or_path"], flags["model_revision"]),
        "adapter to start from": adapter_identity(flags.get("adapter_path")),
        "reward adapter": reward_identity(flags.get("reward_adapter_path")),
        "chat template": digest(tokenizer.chat_template),
        "vocabulary": digest(sorted(tokenizer.get_vocab().items())),
        "rows an optimizer step": (
            args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        ),
    }
    described = {
        "flags": kept,
        "things": inputs,  # keys of run.json stay as they are: earlier checkpoints have them
        "rows": {"training": row_hashes(rows), **({"dev": row_hashes(dev_rows)} if dev_rows is not None else {})},
        "tokens": digest([digest(example) for example in examples]),
        "version": __version__,
        "processes": args.world_size,
    }
    return json.loads(json.dumps(described, default=str))


def same_run(checkpoint: str | None, now: dict, names: list[str]) -> dict:
    """Returns `now`, after making sure that a run described so may continue from `checkpoint` (None: it starts).

    Args:
        names: of the training rows, for the message.
    """
    if checkpoint is None:
        return now
    file = Path(checkpoint) / SETTINGS_FILE
    if not file.exists():
        say(f"{checkpoint} does not say how its run was set up; whether this one is the same is not checked")
        return now
    then = json.loads(file.read_text(encoding="utf-8"))
    differences = [*_flags(then["flags"], now["flags"]), *_inputs(then["things"], now["things"])]
    for split, flag in (("training", "rows"), ("dev", "dev rows")):
        if difference := _rows(then["rows"].get(split), now["rows"].get(split), names if split == "training" else []):
            differences.append(f"{flag}: {difference}")
    if not differences and then["tokens"] != now["tokens"]:
        differences.append(
            f"the rows encode to other tokens (dialsum-trl {then['version']} then, {now['version']} now)"
        )
    if differences:
        more = f" and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: this is another run than the one that was started: "
            f"{'; '.join(differences[:4])}{more}. Restore it, or start again in another --output_dir"
        )
    if then["processes"] != now["processes"]:
        say(
            f"continues on {now['processes']} processes, {then['processes']} before: the same rows per step, other "
            f"rounding and dropout"
        )
    return now


def _flags(then: dict, now: dict) -> list[str]:
    changed = [name for name in then if name in now and then[name] != now[name]]
    changed += [name for name in SCHEDULE if (name in then) != (name in now)]
    warmup = then.get("warmup_steps") or 0
    steady = then["lr_scheduler_type"] == "constant" or (
        then["lr_scheduler_type"] == "constant_with_warmup" and (warmup == 0 or warmup >= 1)
    )
    lines = []
    for name in changed:
        if name in SCHEDULE and steady:
            continue  # the learning rate of a step does not depend on how many follow
        line = f"--{name} was {_shown(then.get(name))} and is {_shown(now.get(name))}"
        if name in SCHEDULE:
            line += f" (it changes the {then['lr_scheduler_type']} schedule of the steps already made)"
        lines.append(line)
    return lines


def _shown(value) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _inputs(then: dict, now: dict) -> list[str]:
    """What differs; an older version may have compared less, and wrote a prefix of what is written now."""
    return [
        f"{name} was {then[name]} and is {now[name]}"
        for name in then
        if then[name] != now.get(name) and not str(now.get(name)).startswith(f"{then[name]}, ")
    ]


def row_hashes(rows) -> str:
    """`ROW_DIGITS` digits per row, in order."""
    return "".join(digest({k: row[k] for k in CONTENT if k in row}, ROW_DIGITS) for row in rows)


def _rows(then: str | None, now: str | None, names: list[str]) -> str | None:
    if then == now:
        return None
    if then is None or now is None:
        return "there were none before" if then is None else "there are none now"
    old, new = ([text[i : i + ROW_DIGITS] for i in range(0, len(text), ROW_DIGITS)] for text in (then, now))
    if len(old) != len(new):
        return f"there were {len(old)} and are {len(new)}"
    if sorted(old) == sorted(new):
        return "they are in another order"
    changed = [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    name = names[changed[0]] if names else f"number {changed[0] + 1}"
    return f"{len(changed)} of {len(old)} changed, {name} first"
