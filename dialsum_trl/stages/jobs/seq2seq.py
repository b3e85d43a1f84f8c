"""As above for encoder-decoders: configuration, mask tokens, full weights."""

import time

from dialsum_trl.core.console import say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments, RougeArguments
from dialsum_trl.core.settings.resolve import parse_recipe
from dialsum_trl.data.splits import read_rows
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.seq2seq import Seq2SeqArguments
from dialsum_trl.training.batches import batch_arithmetic, take_accumulation
from dialsum_trl.training.best_checkpoint import LOSS, ROUGE, choose_by
from dialsum_trl.training.precision import match_precision
from dialsum_trl.training.seq2seq_trainer import rouge_metrics, trainer_class


def seq2seq_config():
    from transformers import Seq2SeqTrainingArguments

    return Seq2SeqTrainingArguments


def adjust(values: dict, given: set[str]) -> None:
    """Mixed precision from the dtype; full weights only; generation as long as the targets; no evaluation without dev.

    Raises:
        InputError: adapters or a quantized base were asked for.
    """
    match_precision(values, given)
    take_accumulation(values, given)
    for name, wanted in (("use_peft", False), ("quantization", "none")):
        if name in given and values[name] != wanted:
            raise InputError(f"--{name} {values[name]}: an encoder-decoder is fine-tuned in full; leave --{name} out")
        values[name] = wanted
    if "generation_max_length" not in given:
        values["generation_max_length"] = values["max_target_length"]
    rouge = (*ROUGE, "rouge_sum", "hit_limit") if values["predict_with_generate"] else ()
    choose_by(values, given, (*LOSS, *rouge))


def load_config(model_args: ModelArguments, seq2seq: Seq2SeqArguments):
    """The model's configuration with the source prefix, checked before any weights are read.

    Raises:
        InputError: the model reads fewer tokens than `--max_source_length`, or overflows in `--dtype`.
    """
    from dialsum_trl.models.base import load_config
    from dialsum_trl.models.encoder_decoder import check_precision, set_source_prefix

    config = load_config(model_args.model_name_or_path, model_args.model_revision, model_args.trust_remote_code)
    check_precision(config, model_args.dtype)
    positions = config.to_dict().get("max_position_embeddings")  # T5 has none: its positions are relative
    longest = max(seq2seq.max_source_length, seq2seq.max_target_length)
    if positions and longest > positions:
        raise InputError(
            f"{model_args.model_name_or_path} has {positions} positions: lower --max_source_length or "
            f"--max_target_length to that"
        )
    set_source_prefix(config, seq2seq.source_prefix)
    return config


def load_model(model_args: ModelArguments, config, device, tokenizer, pieces: dict[int, list[int]], language):
    """The model in float32 (mixed precision is the trainer's), with room for the mask tokens.

    Raises:
        InputError: it is no encoder-decoder.
    """
    from transformers import AutoModelForSeq2SeqLM

    from dialsum_trl.models.base import load_base, resize_embeddings
    from dialsum_trl.models.encoder_decoder import start_from_pieces, start_summaries_in

    model = load_base(
        model_args.model_name_or_path,
        dtype="float32",
        quantization="none",
        revision=model_args.model_revision,
        device=device,
        trust_remote_code=model_args.trust_remote_code,
        attn_implementation=model_args.attn_implementation,
        auto_class=AutoModelForSeq2SeqLM,
        config=config,
    )
    resize_embeddings(model, tokenizer)
    start_from_pieces(model, pieces)
    start_summaries_in(model, tokenizer, language)
    return model


@command
def train_seq2seq(recipe: dict, argv: list[str]) -> dict:
    """Fine-tunes an encoder-decoder in full and leaves it in `output_dir`, for `recipes/predict.py`.

    Returns:
        The figures of the closing table.
    """
    data, model_args, rouge, seq2seq, args = parse_recipe(
        [DataArguments, ModelArguments, RougeArguments, Seq2SeqArguments],
        recipe,
        argv,
        ("transformers.Seq2SeqTrainingArguments", seq2seq_config),
        adjust,
        stage="seq2seq",
    )
    from transformers import DataCollatorForSeq2Seq, set_seed

    from dialsum_trl.models.encoder_decoder import source_prefix
    from dialsum_trl.prompts.seq2seq_tokenizer import check_round_trip, plain_tokenizer
    from dialsum_trl.prompts.text_pairs import add_mask_tokens, encode_text_pairs
    from dialsum_trl.prompts.tokenizer import load_tokenizer
    from dialsum_trl.sharing.push import plan_push
    from dialsum_trl.sharing.record import REPORTED_METRICS
    from dialsum_trl.sharing.save import keep_record, save_adapter
    from dialsum_trl.stages.common.run import peak_memory_gib, train_loss
    from dialsum_trl.training.checkpoints.output_dir import prepare_output_dir
    from dialsum_trl.training.checkpoints.same_run import describe, same_run

    checkpoint = prepare_output_dir(args)
    push_when_done = plan_push(args, model_args)
    batch_arithmetic(args, seq2seq.effective_batch_size)
    train, dev = read_rows(data)

    config = load_config(model_args, seq2seq)
    tokenizer = load_tokenizer(
        model_args.model_name_or_path, model_args.model_revision, trust_remote_code=model_args.trust_remote_code
    )
    tokenizer = plain_tokenizer(tokenizer, seq2seq.language)
    pieces = add_mask_tokens(tokenizer, [] if seq2seq.mask_tokens == ["none"] else seq2seq.mask_tokens)
    check_round_trip(tokenizer)
    lengths = (seq2seq.max_source_length, seq2seq.max_target_length)
    train_rows, fit = encode_text_pairs(train, tokenizer, *lengths, source_prefix(config))
    say(fit.line("train", seq2seq.max_source_length))
    dev_rows = None
    if dev is not None:
        dev_rows, dev_fit = encode_text_pairs(dev, tokenizer, *lengths, source_prefix(config))
        say(dev_fit.line("dev", seq2seq.max_source_length))

    about = describe(args, (data, model_args, rouge, seq2seq), tokenizer, train, train_rows, dev)
    same_run(checkpoint, about, train["fname"])
    set_seed(args.seed)
    model = load_model(model_args, config, args.device, tokenizer, pieces, seq2seq.language)
    scored = dev is not None and args.predict_with_generate
    trainer = trainer_class()(
        model=model,
        args=args,
        train_dataset=train_rows,
        eval_dataset=dev_rows,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        compute_metrics=rouge_metrics(tokenizer, dev["summaries"], rouge) if scored else None,
    )
    trainer.run_settings, trainer.row_names = about, train["fname"][:]
    keep_record(trainer, tokenizer, model_args, PromptArguments(), data, "seq2seq fine-tuning")

    started = time.time()
    result = trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    metrics = trainer.evaluate() if dev is not None else {}
    trainer.save_state()
    save_adapter(trainer, tokenizer, model_args, metrics)

    figures = {
        "rows": len(train_rows),
        "parameters": model.num_parameters(),
        "mask tokens added": len(pieces),
        "optimizer steps": trainer.state.global_step,
        "rows a step": args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "seconds": round(seconds, 1),
        "peak GPU memory, GiB": peak_memory_gib(),
        **train_loss(result, checkpoint),
        **{key: round(value, 4) for key, value in metrics.items() if key in (*REPORTED_METRICS, "eval_rouge_sum")},
        "model": args.output_dir,
    }
    table("Fine-tuning finished", list(figures.items()))
    push_when_done()
    return figures
