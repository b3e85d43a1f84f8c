"""QLoRA supervised fine-tuning: the story of the job, read top to bottom in `train_sft`."""

import time

from dialsum_trl.arguments import (
    DataArguments,
    ModelArguments,
    PromptArguments,
    RougeArguments,
    SFTArguments,
    match_precision,
    parse_recipe,
)
from dialsum_trl.best_checkpoint import LOSS, ROUGE, choose_by
from dialsum_trl.console import say, table
from dialsum_trl.errors import InputError, command
from dialsum_trl.fast.memory import prepare_allocator
from dialsum_trl.rows import batch_arithmetic, read_rows, take_accumulation
from dialsum_trl.runs import compare_with_adapter, follow_prompt_style, keep_lora

# The design's verified LoRA and optimizer settings, shared by the four recipes: the one home of each value.
SFT_SETTINGS = dict(
    lora_r=16,
    lora_alpha=32,
    lora_dropout=0.05,  # on q/k/v/o/gate/up/down, bias none (defaults of ModelArguments)
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
    max_length=1024,  # 512 cuts the assistant header of 6 % of the rows
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


def load_model(model_args: ModelArguments, args, tokenizer, added: list[int]):
    """The base, quantized, with LoRA adapters: new ones, or those of `--adapter_path` to continue from."""
    from peft import get_peft_model
    from transformers import set_seed

    from dialsum_trl.models import base_of, lora_config, resize_embeddings
    from dialsum_trl.rl.adapters import load_policy

    if not model_args.use_peft and model_args.quantization != "none":
        raise InputError("full fine-tuning (--use_peft false) needs --quantization none: 4-bit weights cannot train")
    model = base_of(model_args, args.device)
    set_seed(args.seed)  # new rows and adapters start alike in every run and on every process
    resize_embeddings(model, tokenizer)
    model.config.use_cache = False
    if not model_args.use_peft:
        return model
    if model_args.adapter_path:
        return load_policy(model, model_args.adapter_path)
    return get_peft_model(model, lora_config(model_args, added=added))


def upcast_trainable(model, dtype: str) -> None:
    """Keeps what is trained in `dtype`, float32 but under DeepSpeed (TRL casts QLoRA adapters to bf16).

    bf16 adapters crash fp16's GradScaler, and in bf16 an update of 2e-5 on a weight of 0.01 is often rounded away.
    """
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(getattr(torch, dtype))


def trainer_class():
    from trl import SFTTrainer

    from dialsum_trl.fast.loss import DeferredMetrics
    from dialsum_trl.fast.path import PackedTraining
    from dialsum_trl.scale.checkpoints import PortableCheckpoints
    from dialsum_trl.scale.filled_up import EachRowOnce
    from dialsum_trl.scale.tied import TiedWeightsOnce
    from dialsum_trl.token_mean import TokenMeanLoss
    from dialsum_trl.training import CheckedTraining, RougeEvaluation

    class DialogueSFTTrainer(
        EachRowOnce,
        PackedTraining,
        DeferredMetrics,
        TokenMeanLoss,
        RougeEvaluation,
        CheckedTraining,
        PortableCheckpoints,
        TiedWeightsOnce,
        SFTTrainer,
    ):
        """TRL's trainer on packs: checked gradients, ROUGE beside the evaluation loss, portable checkpoints."""

    return DialogueSFTTrainer


def score_summaries(trainer, rows, rouge: RougeArguments, max_new_tokens: int) -> None:
    """Has each evaluation summarize these dev rows, shortened as predict does, and log their ROUGE beside the loss."""
    from dialsum_trl.models import stop_token_ids
    from dialsum_trl.prompts import fit
    from dialsum_trl.rouge import RougeConfig

    tokenizer = trainer.processing_class
    budget = trainer.args.max_length - max_new_tokens
    trainer.rouge_evaluation(
        [fit(tokenizer, dialogue, budget).prompt_ids for dialogue in rows["dialogue"]],
        rows["summaries"],
        RougeConfig(rouge.rouge_tokenizer, rouge.rouge_masks, rouge.rouge_references),
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
    from transformers import set_seed

    from dialsum_trl import models
    from dialsum_trl.chat_tokens import add_missing_chat_tokens, check_untied
    from dialsum_trl.encoding import encode_dataset
    from dialsum_trl.fast.path import prepare
    from dialsum_trl.resume.sameness import describe, same_run
    from dialsum_trl.runs import peak_memory_gib, prepare_output_dir, train_loss
    from dialsum_trl.scale import topology
    from dialsum_trl.share import hub
    from dialsum_trl.share.record import REPORTED_METRICS

    checkpoint = prepare_output_dir(args)
    if args.max_length is None:
        raise InputError("max_length is null, and dialogues are shortened to it; leave it out, or give tokens")
    push_when_done = hub.plan_push(args, model_args)
    batch_arithmetic(args, sft.effective_batch_size)
    train, dev = read_rows(data)

    tokenizer = models.tokenizer_of(model_args, prompt)
    added = add_missing_chat_tokens(tokenizer)
    if added and model_args.use_peft:
        base = model_args.model_name_or_path
        check_untied(models.load_config(base, model_args.model_revision, model_args.trust_remote_code), base)
    stop_ids = models.stop_token_ids(tokenizer)
    train_rows, fit = topology.once(
        lambda: encode_dataset(train, tokenizer, stop_ids, args.max_length, prompt.instructions, args.seed)
    )
    say(fit.line("train", args.max_length))
    dev_rows = None
    if dev is not None:
        dev_rows, dev_fit = topology.once(lambda: encode_dataset(dev, tokenizer, stop_ids, args.max_length))
        say(dev_fit.line("dev", args.max_length))

    about = describe(args, (data, prompt, model_args, rouge, sft), tokenizer, train, train_rows, dev)
    same_run(checkpoint, about, train["fname"])
    args.dataset_kwargs = {"skip_prepare_dataset": True}  # the rows are final: nothing left to truncate or drop

    set_seed(args.seed)  # before the adapter draws its A matrices
    model = load_model(model_args, args, tokenizer, added)
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
    hub.keep_record(trainer, tokenizer, model_args, prompt, data)
    trainer.row_names = [name for name in train["fname"] for _ in range(len(train_rows) // len(train))]
    upcast_trainable(trainer.model, topology.trained_dtype(model_args.dtype))
    if dev is not None and sft.rouge_rows:
        score_summaries(trainer, dev.select(range(min(sft.rouge_rows, len(dev)))), rouge, sft.rouge_max_new_tokens)

    started = time.time()
    result = trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    metrics = trainer.evaluate() if dev is not None else {}
    trainer.save_state()
    hub.save_adapter(trainer, tokenizer, model_args, metrics)

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
