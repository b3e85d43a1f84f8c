"""The encoder-decoder baseline (KoBART; T5 and mBART by flag): read top to bottom in `train_seq2seq`."""

import time
from dataclasses import dataclass, field

from dialsum_trl.arguments import (
    DataArguments,
    ModelArguments,
    PromptArguments,
    RougeArguments,
    flag,
    match_precision,
    parse_recipe,
)
from dialsum_trl.best_checkpoint import LOSS, ROUGE, choose_by
from dialsum_trl.console import say, table
from dialsum_trl.errors import InputError, command
from dialsum_trl.rows import batch_arithmetic, read_rows, take_accumulation
from dialsum_trl.text_pairs import MASKS


@dataclass
class Seq2SeqArguments:
    effective_batch_size: int = flag(
        32, "Rows an optimizer step over all processes; accumulation is derived unless given."
    )
    max_source_length: int = flag(1024, "Tokens that the encoder reads; longer dialogues lose middle turns.")
    max_target_length: int = flag(200, "Tokens of a summary, in training and when generating.")
    mask_tokens: list[str] = field(
        default_factory=lambda: list(MASKS), metadata={"help": "Made one token each; none leaves the vocabulary alone."}
    )
    language: str | None = flag(None, "Language code of both sides, for models that need one (mBART: ko_KR).")
    source_prefix: str | None = flag(
        None, "Text before each dialogue, as `summarize: ` for T5 models of several tasks; default: the model's own."
    )


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
    from dialsum_trl.encoder_decoder import check_precision, set_source_prefix
    from dialsum_trl.models import load_config

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

    from dialsum_trl.encoder_decoder import start_summaries_in
    from dialsum_trl.models import load_base, resize_embeddings
    from dialsum_trl.text_pairs import start_from_pieces

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


def rouge_metrics(tokenizer, references: list[list[str]], rouge: RougeArguments):
    """`compute_metrics` for generated ids: ROUGE against the dev references, and the share that found no end."""
    import numpy as np

    from dialsum_trl.rouge import RougeConfig, score

    config = RougeConfig(rouge.rouge_tokenizer, rouge.rouge_masks, rouge.rouge_references)

    def compute(prediction) -> dict[str, float]:
        ids = np.where(prediction.predictions < 0, tokenizer.pad_token_id, prediction.predictions)
        texts = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
        report = score(texts, references, config, bootstrap=0)
        ended = (ids[:, 1:] == tokenizer.eos_token_id).any(1)  # the first may be the end token too: BART's start
        say(f"  {references[0][0]!r} <- {texts[0]!r}")
        return {
            "rouge1": report.rouge1,
            "rouge2": report.rouge2,
            "rougeL": report.rougeL,
            "rouge_mean": report.mean,
            "rouge_sum": report.sum,
            "hit_limit": float(1 - ended.mean()),
        }

    return compute


def trainer_class():
    import torch
    from transformers import Seq2SeqTrainer

    from dialsum_trl.scale.checkpoints import AnyAdamW
    from dialsum_trl.scale.filled_up import EachRowOnce
    from dialsum_trl.scale.tied import TiedWeightsOnce
    from dialsum_trl.token_mean import TokenMeanLoss
    from dialsum_trl.training import CheckedTraining

    class DialogueSeq2SeqTrainer(
        EachRowOnce, AnyAdamW, TiedWeightsOnce, TokenMeanLoss, CheckedTraining, Seq2SeqTrainer
    ):
        """transformers' trainer with checked gradients; it summarizes dev by beam search at each evaluation.

        The loss of an optimizer step is the mean over its supervised tokens, however its rows are divided over
        accumulation and processes. transformers leaves that to models that take `num_items_in_batch`, and takes every
        `**kwargs` for such a one: BART, T5 and mBART return the mean of their micro-batch all the same, so that loss
        and gradient grew with accumulation and with the processes.
        """

        loss_is_scaled_for_ga = True

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.model_accepts_loss_kwargs = True  # has the tokens of a step counted; only `compute_loss` is told

        def evaluation_loop(self, *args, **kwargs):
            self.gather_function = self.accelerator.gather_for_metrics  # not the rows that fill the last batch up
            return super().evaluation_loop(*args, **kwargs)

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            if not self.model.training:  # `TokenMeanLoss` takes the mean of a process' own batch, not a share of all
                num_items_in_batch = None
            own = inputs["labels"].ne(-100).sum()
            tokens = torch.as_tensor(own if num_items_in_batch is None else num_items_in_batch).clamp(min=1)
            outputs = model(**inputs)
            if self.label_smoother is None:
                mean = torch.where(own > 0, outputs["loss"], 0.0)  # of no token, where all rows fill up: not a number
                loss = mean * own / tokens
            else:
                loss = self.label_smoother(outputs, inputs["labels"], num_items_in_batch=tokens)
            if num_items_in_batch is not None and self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes  # the count is of all, and DDP averages over them
            return (loss, outputs) if return_outputs else loss

    return DialogueSeq2SeqTrainer


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

    from dialsum_trl.encoder_decoder import check_round_trip, plain_tokenizer, source_prefix
    from dialsum_trl.models import load_tokenizer
    from dialsum_trl.resume.sameness import describe, same_run
    from dialsum_trl.runs import peak_memory_gib, prepare_output_dir, train_loss
    from dialsum_trl.share import hub
    from dialsum_trl.share.record import REPORTED_METRICS
    from dialsum_trl.text_pairs import add_mask_tokens, encode_text_pairs

    checkpoint = prepare_output_dir(args)
    push_when_done = hub.plan_push(args, model_args)
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
    hub.keep_record(trainer, tokenizer, model_args, PromptArguments(), data, "seq2seq fine-tuning")

    started = time.time()
    result = trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    metrics = trainer.evaluate() if dev is not None else {}
    trainer.save_state()
    hub.save_adapter(trainer, tokenizer, model_args, metrics)

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
