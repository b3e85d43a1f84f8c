"""Rows to an encoder-decoder: configuration, mask tokens, full weights."""

from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, set_seed

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.data.splits import each_reference
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.models import base
from dialsum_trl.models.encoder_decoder import (
    check_precision,
    set_source_prefix,
    source_prefix,
    start_from_pieces,
    start_summaries_in,
)
from dialsum_trl.prompts.seq2seq_tokenizer import check_round_trip, plain_tokenizer
from dialsum_trl.prompts.text_pairs import add_mask_tokens, encode_text_pairs
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.sharing.record import REPORTED_METRICS
from dialsum_trl.stages.common.run import Run
from dialsum_trl.training.batches import take_accumulation
from dialsum_trl.training.best_metric import LOSS, ROUGE, choose_by
from dialsum_trl.training.precision import match_precision
from dialsum_trl.training.seq2seq_trainer import Seq2SeqTrainer, rouge_metrics


def adjust(values: dict, given: set[str]) -> None:
    """Mixed precision follows the dtype, generation is as long as the targets; full weights only."""
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


def run(data, model_args, rouge, seq2seq, args) -> dict:
    """Fine-tunes an encoder-decoder in full; returns the figures of the closing table."""
    run = Run("seq2seq fine-tuning", (data, model_args, rouge, seq2seq, args))
    run.open(seq2seq.effective_batch_size)
    train, dev = run.rows()
    train = each_reference(train, seq2seq.train_references)

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
    info = run.describe(tokenizer, train, train_rows, dev, train["fname"][:])

    set_seed(args.seed)
    model = load_model(model_args, config, args.device, tokenizer, pieces, seq2seq.language)
    scored = dev is not None and args.predict_with_generate
    trainer = Seq2SeqTrainer(
        model=model,
        args=args,
        train_dataset=train_rows,
        eval_dataset=dev_rows,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        compute_metrics=rouge_metrics(tokenizer, dev["summaries"], RougeConfig.of(rouge)) if scored else None,
        run_info=info,
    )
    metrics = run.fit(trainer, evaluate=dev is not None)

    figures = {
        "rows": len(train_rows),
        "parameters": model.num_parameters(),
        "mask tokens added": len(pieces),
        "optimizer steps": trainer.state.global_step,
        "rows a step": args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size,
        **run.costs(),
        **run.train_loss(),
        **{key: round(value, 4) for key, value in metrics.items() if key in (*REPORTED_METRICS, "eval_rouge_sum")},
        "model": args.output_dir,
    }
    return run.close("Fine-tuning finished", figures)


def load_config(model_args: ModelArguments, seq2seq):
    """The model's configuration with the source prefix, checked before any weights are read."""
    config = base.load_config(model_args.model_name_or_path, model_args.model_revision, model_args.trust_remote_code)
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
    """The model in float32 (mixed precision is the trainer's), with embeddings for the mask tokens.

    Raises:
        InputError: it is no encoder-decoder.
    """
    model = base.load_base(
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
    base.resize_embeddings(model, tokenizer)
    start_from_pieces(model, pieces)
    start_summaries_in(model, tokenizer, language)
    return model
