"""Dialogues and summaries to an adapter."""

import math

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.splits import each_reference
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.models.adapter_settings import follow_adapter, keep_lora
from dialsum_trl.models.adapters import POLICY, adapter_state, load_base_with_lora
from dialsum_trl.models.base import load_config
from dialsum_trl.models.files import CHANGE_THE_BASE
from dialsum_trl.models.lora import start_from_rows
from dialsum_trl.prompts.chat_tokens import add_missing_chat_tokens, check_untied, stop_token_ids
from dialsum_trl.prompts.prompt import fit, prompt_texts
from dialsum_trl.prompts.sft_rows import encode_dataset
from dialsum_trl.sharing.record import REPORTED_METRICS
from dialsum_trl.stages.common.found import say_found
from dialsum_trl.stages.common.run import Run
from dialsum_trl.training.batches import take_accumulation
from dialsum_trl.training.best_metric import LOSS, ROUGE, choose_by
from dialsum_trl.training.dev_rouge import DevRouge, first_rows
from dialsum_trl.training.distributed.once import once
from dialsum_trl.training.estimate import too_slow
from dialsum_trl.training.loss_watch import LossWatch
from dialsum_trl.training.packing.prepare import FastPath, prepare
from dialsum_trl.training.precision import match_precision, trained_dtype
from dialsum_trl.training.sft_trainer import SFTTrainer


def adjust(values: dict, given: set[str]) -> None:
    """Mixed precision from the dtype; no evaluation without dev rows; a best checkpoint only where it can be chosen."""
    if values["max_length"] is None:
        raise InputError("max_length is null, and dialogues are shortened to it; leave it out, or give tokens")
    if not values["model_name_or_path"]:
        raise InputError("no model: give --model_name_or_path, a Hub id or the folder of a base model")
    match_precision(values, given)
    take_accumulation(values, given)
    rouge = (*ROUGE, "hit_limit") if values["rouge_rows"] else ()
    choose_by(values, given, (*LOSS, *rouge, "mean_token_accuracy", "entropy"))
    follow_adapter(values, given)
    if values["adapter_path"]:
        keep_lora(values, given)


def run(data, prompt, model_args, rouge, sft, args) -> dict:
    """Trains an adapter and leaves it in `output_dir`; returns the figures of the closing table."""
    run = Run("SFT", (data, prompt, model_args, rouge, sft, args))
    run.open(sft.effective_batch_size)
    train, dev = run.rows()
    train = each_reference(train, sft.train_references)

    tokenizer = run.load_tokenizer(args.chat_template_path)
    args.chat_template_path = None  # the tokenizer has it: rows are encoded with it, and it is saved with the adapter
    added = add_missing_chat_tokens(tokenizer)
    if added and model_args.use_peft:
        base = model_args.model_name_or_path
        check_untied(load_config(base, model_args.model_revision, model_args.trust_remote_code), base)
    stop_ids = stop_token_ids(tokenizer)
    train_rows, fitted = once(
        lambda: encode_dataset(train, tokenizer, stop_ids, args.max_length, prompt.instructions, args.seed)
    )
    say(fitted.line("train", args.max_length))
    dev_rows = None
    if dev is not None:
        dev_rows, fitted = once(lambda: encode_dataset(dev, tokenizer, stop_ids, args.max_length))
        say(fitted.line("dev", args.max_length))
    names = [name for name in train["fname"] for _ in range(len(train_rows) // len(train))]
    info = run.describe(tokenizer, train, train_rows, dev, names)

    model = load_base_with_lora(model_args, args, tokenizer, added)
    if model_args.use_peft and not model_args.adapter_path:
        if model_args.init_lora_weights == "eva":
            start_from_rows(model, train_rows, tokenizer.pad_token_id, args.per_device_train_batch_size)
        if model_args.init_lora_weights in CHANGE_THE_BASE:
            info.lora_start = adapter_state(model, POLICY)
    args.dataset_kwargs = {"skip_prepare_dataset": True}  # the rows are final: nothing left to truncate or drop
    rows_per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    lengths = list(map(len, train_rows["input_ids"]))
    packing, path = fast_path(model, args, lengths, tokenizer.pad_token_id, model_args.quantization, sft)
    say_found(model, tokenizer, stop_ids, model_args, path)
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=train_rows,
        eval_dataset=dev_rows,
        processing_class=tokenizer,
        packing=packing,
        dev_rouge=dev_rouge(tokenizer, stop_ids, dev, rouge, sft, args.max_length),
        trained_dtype=trained_dtype(model_args.dtype),
        run_info=info,
        loraplus_lr_ratio=sft.loraplus_lr_ratio,
    )
    trainer.add_callback(LossWatch())
    steps = args.max_steps if args.max_steps > 0 else math.ceil(len(train_rows) / rows_per_step * args.num_train_epochs)
    if model_args.use_peft and not model_args.adapter_path and (slow := too_slow(steps, args.learning_rate)):
        say(f"warning: {slow}")
    metrics = run.fit(trainer, evaluate=dev is not None)

    steps = trainer.state.global_step
    epochs_here = trainer.state.epoch * (steps - trainer.checkpoints.first_step) / steps  # since the checkpoint
    figures = {
        "rows": len(train_rows),
        "tokens an epoch": sum(lengths),
        "trainable parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "optimizer steps": steps,
        "rows a step": rows_per_step,
        "tokens/s": round(sum(lengths) * epochs_here / run.seconds) if run.seconds else 0,
        **run.costs(),
        **run.train_loss(),
        **{key: round(value, 4) for key, value in metrics.items() if key in REPORTED_METRICS},
        "adapter": args.output_dir,
    }
    return run.close("SFT finished", figures)


def fast_path(model, args, lengths: list[int], pad_id: int, quantization: str, sft) -> tuple[FastPath | None, str]:
    """What `prepare` returns, or None and why; an evaluation batch that the user gave stays."""
    if not sft.fast:
        return None, "padded: --fast false"
    eval_rows = args.per_device_eval_batch_size
    packing, path = prepare(model, args, lengths, pad_id, quantization, sft.memory_gib)
    if "per_device_eval_batch_size" in sft.given:
        args.per_device_eval_batch_size = eval_rows
    if packing and packing.fused and "activation_checkpointing" in sft.given:
        say("--activation_checkpointing: fused layers recompute what the plan above says; --fast false follows it")
    return packing, path


def dev_rouge(tokenizer, stop_ids: list[int], dev, rouge, sft, max_length: int) -> DevRouge | None:
    """The dev rows that each evaluation summarizes, shortened as predict does; None where there are none."""
    if dev is None or not sft.rouge_rows:
        return None
    rows = first_rows(dev, sft.rouge_rows)
    budget, texts = max_length - sft.rouge_max_new_tokens, prompt_texts(tokenizer)
    return DevRouge(
        [fit(tokenizer, row["dialogue"], budget, topic=row["topic"]).prompt_ids for row in rows],
        [[texts.target(row["dialogue"], text) for text in row["summaries"]] for row in rows],
        RougeConfig.of(rouge),
        stop_ids,
        tokenizer.pad_token_id,
        sft.rouge_max_new_tokens,
    )
