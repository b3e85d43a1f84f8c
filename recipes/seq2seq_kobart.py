"""Full fine-tuning of KoBART (124M): the encoder-decoder baseline.

    accelerate launch recipes/seq2seq_kobart.py --train_file data/train.csv --eval_file data/dev.csv
    accelerate launch recipes/predict.py --model_name_or_path outputs/seq2seq_kobart --test_file data/dev.csv

Other encoder-decoders: --model_name_or_path paust/pko-t5-base (T5), or facebook/mbart-large-50 with --language ko_KR
(docs/pipeline.md has their commands).
Every field of transformers.Seq2SeqTrainingArguments can be set here, in a --config YAML or on the command line.
"""

from dialsum_trl import train_seq2seq

RECIPE = dict(
    model_name_or_path="gogamza/kobart-base-v2",
    dtype="bfloat16",  # mixed precision; the weights stay float32
    max_source_length=1024,  # 512 is enough for most rows and faster
    max_target_length=200,  # 100 likewise
    num_train_epochs=20,
    per_device_train_batch_size=32,
    effective_batch_size=32,
    learning_rate=1e-5,
    lr_scheduler_type="cosine",
    warmup_steps=0.1,  # below 1: a share of all steps
    weight_decay=0.01,
    per_device_eval_batch_size=32,
    predict_with_generate=True,
    generation_num_beams=4,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    ddp_find_unused_parameters=False,  # every weight takes part in every step
    load_best_model_at_end=True,
    metric_for_best_model="rouge_sum",
    greater_is_better=True,
    logging_steps=10,
    logging_nan_inf_filter=False,  # it would average NaN steps away
    output_dir="outputs/seq2seq_kobart",
)

if __name__ == "__main__":
    train_seq2seq(RECIPE)
