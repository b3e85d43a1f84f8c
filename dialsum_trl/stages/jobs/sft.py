"""Settings to adapter, about 60 lines on a `Run`; how the base is loaded; what dev rows are summarized."""

import time

from dialsum_trl.core.console import say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.launcher import prepare_allocator
from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments, RougeArguments
from dialsum_trl.core.settings.resolve import parse_recipe
from dialsum_trl.data.splits import read_rows
from dialsum_trl.models.adapter_settings import compare_with_adapter, follow_prompt_style, keep_lora
from dialsum_trl.models.adapters import load_base_with_lora, upcast_trainable
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.sft import SFT_SETTINGS, SFTArguments
from dialsum_trl.training.batches import batch_arithmetic, take_accumulation
from dialsum_trl.training.best_checkpoint import LOSS, ROUGE, choose_by
from dialsum_trl.training.precision import match_precision
from dialsum_trl.training.sft_trainer import trainer_class


def sft_config():
    from trl import SFTConfig

    return SFTConfig


def adjust(values: dict, given: set[str]) -> None:
    """Mixed precision from the dtype; no evaluation without dev rows; a best checkpoint only where it can be chosen."""
    match_precision(values, given)
    take_accumulation(values, given)
    rouge = (*ROUGE, "hit_limit") if values["rouge_rows"] else ()
    choose_by(values, given, (*LOSS, *rouge, "mean_token_accuracy", "entropy"))
    if values["adapter_path"]:
        found = compare_with_adapter(values, given | {"model_name_or_path"})  # the recipe's, if not the user's
        follow_prompt_style(values, given, found)
        keep_lora(values, given)


def score_summaries(trainer, rows, rouge: RougeArguments, max_new_tokens: int) -> None:
    """Has each evaluation summarize these dev rows, shortened as predict does, and log their ROUGE beside the loss."""
    from dialsum_trl.metrics.rouge import RougeConfig
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.prompts.prompt import fit

    tokenizer = trainer.processing_class
    budget = trainer.args.max_length - max_new_tokens
    trainer.rouge_evaluation(
        [fit(tokenizer, dialogue, budget).prompt_ids for dialogue in rows["dialogue"]],
        rows["summaries"],
        RougeConfig.of(rouge),
        stop_token_ids(tokenizer),
        tokenizer.pad_token_id,
        max_new_tokens,
    )


@command
def train_sft(recipe: dict, argv: list[str]) -> dict:
    """Trains an adapter and leaves it in `output_dir`.

    Returns:
        The figures of the closing table (losses, ROUGE, tokens, seconds, peak GiB).
    """
    prepare_allocator()
    data, prompt, model_args, rouge, sft, args = parse_recipe(
        [DataArguments, PromptArguments, ModelArguments, RougeArguments, SFTArguments],
        {**SFT_SETTINGS, **recipe},
        argv,
        ("trl.SFTConfig", sft_config),
        adjust,
        stage="sft",
    )
    from dialsum_trl.models.base import load_config
    from dialsum_trl.prompts.chat_tokens import add_missing_chat_tokens, check_untied, stop_token_ids
    from dialsum_trl.prompts.sft_rows import encode_dataset
    from dialsum_trl.prompts.tokenizer import tokenizer_of
    from dialsum_trl.sharing.push import plan_push
    from dialsum_trl.sharing.record import REPORTED_METRICS
    from dialsum_trl.sharing.save import keep_record, save_adapter
    from dialsum_trl.stages.common.run import peak_memory_gib, train_loss
    from dialsum_trl.training.checkpoints.output_dir import prepare_output_dir
    from dialsum_trl.training.checkpoints.same_run import describe, same_run
    from dialsum_trl.training.distributed.once import once
    from dialsum_trl.training.packing.prepare import prepare
    from dialsum_trl.training.precision import trained_dtype

    checkpoint = prepare_output_dir(args)
    if args.max_length is None:
        raise InputError("max_length is null, and dialogues are shortened to it; leave it out, or give tokens")
    push_when_done = plan_push(args, model_args)
    batch_arithmetic(args, sft.effective_batch_size)
    train, dev = read_rows(data)

    tokenizer = tokenizer_of(model_args, prompt)
    added = add_missing_chat_tokens(tokenizer)
    if added and model_args.use_peft:
        base = model_args.model_name_or_path
        check_untied(load_config(base, model_args.model_revision, model_args.trust_remote_code), base)
    stop_ids = stop_token_ids(tokenizer)
    train_rows, fit = once(
        lambda: encode_dataset(train, tokenizer, stop_ids, args.max_length, prompt.instructions, args.seed)
    )
    say(fit.line("train", args.max_length))
    dev_rows = None
    if dev is not None:
        dev_rows, dev_fit = once(lambda: encode_dataset(dev, tokenizer, stop_ids, args.max_length))
        say(dev_fit.line("dev", args.max_length))

    about = describe(args, (data, prompt, model_args, rouge, sft), tokenizer, train, train_rows, dev)
    same_run(checkpoint, about, train["fname"])
    args.dataset_kwargs = {"skip_prepare_dataset": True}  # the rows are final: nothing left to truncate or drop

    model = load_base_with_lora(model_args, args, tokenizer, added)
    rows_a_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    fast = None
    if sft.fast:
        lengths = [len(ids) for ids in train_rows["input_ids"]]
        fast = prepare(model, args, lengths, tokenizer.pad_token_id, model_args.quantization, sft.memory_gib)
    trainer = trainer_class()(
        model=model,
        args=args,
        train_dataset=train_rows,
        eval_dataset=dev_rows,
        processing_class=tokenizer,
        data_collator=fast.collator if fast else None,
    )
    trainer.schedule = fast.schedule if fast else None
    trainer.run_settings = about
    keep_record(trainer, tokenizer, model_args, prompt, data)
    trainer.row_names = [name for name in train["fname"] for _ in range(len(train_rows) // len(train))]
    upcast_trainable(trainer.model, trained_dtype(model_args.dtype))
    if dev is not None and sft.rouge_rows:
        score_summaries(trainer, dev.select(range(min(sft.rouge_rows, len(dev)))), rouge, sft.rouge_max_new_tokens)

    started = time.time()
    result = trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    metrics = trainer.evaluate() if dev is not None else {}
    trainer.save_state()
    save_adapter(trainer, tokenizer, model_args, metrics)

    tokens = sum(map(len, train_rows["input_ids"]))
    steps = trainer.state.global_step
    here = trainer.state.epoch * (steps - trainer._initial_global_step) / steps  # epochs, behind the checkpoint
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    figures = {
        "rows": len(train_rows),
        "tokens an epoch": tokens,
        "trainable parameters": trainable,
        "optimizer steps": steps,
        "rows a step": rows_a_step,
        "seconds": round(seconds, 1),
        "tokens/s": round(tokens * here / seconds) if seconds else 0,
        "peak GPU memory, GiB": peak_memory_gib(),
        **train_loss(result, checkpoint),
        **{key: round(value, 4) for key, value in metrics.items() if key in REPORTED_METRICS},
        "adapter": args.output_dir,
    }
    table("SFT finished", list(figures.items()))
    push_when_done()
    return figures
