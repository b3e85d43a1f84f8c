"""T5, mBART and KoBART by flag: tokenizers, labels, starts, and the way from training to prediction."""

import functools
import json
import runpy

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.patterns import MASKS
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.summaries import encode_prompts
from dialsum_trl.generation.summarizer import Summarizer
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.models.base import load_base, load_config, resize_embeddings
from dialsum_trl.models.encoder_decoder import check_precision, source_prefix
from dialsum_trl.prompts.seq2seq_tokenizer import PROBE, plain_tokenizer
from dialsum_trl.prompts.text_pairs import add_mask_tokens, encode_target, fit_source
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.seq2seq import train_seq2seq
from dialsum_trl.training.seq2seq_trainer import rouge_metrics
from tests import seq2seq_toys
from tests.conftest import ROOT
from tests.row_files import sample


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a family's random model, made once."""
    return functools.cache(lambda family: seq2seq_toys.build(family, tmp_path_factory.mktemp("bases").joinpath(family)))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("rows"), train=16, dev=9)


def language(family):
    return "ko_KR" if family.startswith("mbart") else None


def with_masks(folder, family):
    tokenizer = plain_tokenizer(load_tokenizer(str(folder)), language(family))
    return tokenizer, add_mask_tokens(tokenizer)


def train(folder, rows, output, *flags):
    recipe = runpy.run_path(str(ROOT / "recipes" / "seq2seq_kobart.py"))["RECIPE"]
    argv = [
        "--model_name_or_path", str(folder), "--dtype", "float32", "--use_cpu", "true", "--output_dir", str(output),
        "--train_file", str(rows / "train.csv"), "--eval_file", str(rows / "dev.csv"), "--max_steps", "2",
        "--per_device_train_batch_size", "8", "--effective_batch_size", "8", "--logging_steps", "1",
        "--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "2", "--save_steps", "2",
        "--generation_max_length", "16", "--disable_tqdm", "true", "--learning_rate", "1e-2", *flags,
    ]  # fmt: skip
    return train_seq2seq(recipe, argv)


@pytest.fixture(scope="module")
def trained(base, rows, tmp_path_factory):
    """The folder and figures of two steps on a family, run once."""

    @functools.cache
    def run(family):
        output = tmp_path_factory.mktemp("runs") / family
        flags = ("--language", "ko_KR") if language(family) else ()
        return output, train(base(family), rows, output, *flags)

    return run


@pytest.mark.parametrize("family", seq2seq_toys.FAMILIES)
def test_masks_are_one_token_and_a_particle_stays_at_its_mask(base, family):
    tokenizer, pieces = with_masks(base(family), family)
    ids = tokenizer(PROBE).input_ids
    assert sum(i in pieces for i in ids) == 3
    assert tokenizer.decode(ids, skip_special_tokens=True) == PROBE


@pytest.mark.parametrize("family", seq2seq_toys.FAMILIES)
def test_a_text_without_masks_keeps_the_ids_of_the_pretrained_tokenizer(base, family):
    before = load_tokenizer(str(base(family)))
    if language(family):
        before.src_lang = "ko_KR"
    after, _ = with_masks(base(family), family)
    for text in ("오늘 회의는 세 시에 시작합니다.", "네,  알겠습니다.\n내일 봐요!"):
        assert after(text).input_ids == before(text).input_ids


@pytest.mark.parametrize("family", seq2seq_toys.FAMILIES)
def test_source_and_target_hold_the_end_token_once(base, family):
    tokenizer, _ = with_masks(base(family), family)
    source = fit_source(tokenizer, "#Person1#: 안녕하세요.\n#Person2#: 네.", 1024).prompt_ids
    for ids in (source, encode_target(tokenizer, "인사한다.", 200)):
        assert ids.count(tokenizer.eos_token_id) == 1
        assert tokenizer.eos_token_id in ids[-2:]


@pytest.mark.parametrize(
    ("family", "place", "start"), [("mbart-50", 0, ["</s>", "ko_KR"]), ("mbart-25", -1, ["ko_KR"])]
)
def test_mbart_reads_and_writes_its_language_code(base, family, place, start):
    tokenizer, _ = with_masks(base(family), family)
    source, target = fit_source(tokenizer, "안녕하세요.", 64).prompt_ids, encode_target(tokenizer, "인사한다.", 64)
    code = tokenizer.convert_tokens_to_ids("ko_KR")
    assert source[place] == target[place] == code
    model = load_base(str(base(family)), dtype="float32", quantization="none", auto_class=AutoModelForSeq2SeqLM)
    collate = DataCollatorForSeq2Seq(tokenizer, model=model)
    inputs = collate([{"input_ids": source, "labels": target}, {"input_ids": source, "labels": [*target, *target]}])
    read = tokenizer.convert_ids_to_tokens(inputs["decoder_input_ids"][0].tolist())
    assert read[: len(start)] == start


@pytest.mark.parametrize("family", seq2seq_toys.FAMILIES)
def test_two_steps_train_and_the_saved_model_starts_as_its_labels_do(trained, family):
    output, figures = trained(family)
    assert figures["optimizer steps"] == 2 and figures["mask tokens added"] == len(MASKS)
    saved = json.loads((output / "generation_config.json").read_text())
    tokenizer = load_tokenizer(str(output))
    code = tokenizer.convert_tokens_to_ids("ko_KR")
    start = {"kobart": 1, "mbart-50": 2, "mbart-25": code}.get(family, 0)
    assert saved["decoder_start_token_id"] == start
    assert saved.get("forced_bos_token_id") == (code if family == "mbart-50" else None)
    assert saved["eos_token_id"] == tokenizer.eos_token_id
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    assert all(0 < entry["grad_norm"] < 1e3 for entry in history if "grad_norm" in entry)


@pytest.mark.parametrize("family", ["mt5", "pko-t5"])
def test_an_output_embedding_of_its_own_stays_its_own_when_the_vocabulary_grows(base, family):
    model = load_base(str(base(family)), dtype="float32", quantization="none", auto_class=AutoModelForSeq2SeqLM)
    before = model.get_output_embeddings().weight.detach().clone()
    tokenizer = load_tokenizer(str(base(family)))
    tokenizer.add_tokens([f"#mask{i}#" for i in range(40)])
    resize_embeddings(model, tokenizer)
    after = model.get_output_embeddings().weight
    assert torch.equal(after[: len(before)], before) and len(after) >= len(tokenizer)
    assert not torch.equal(model.get_input_embeddings().weight[: len(before)], before)


@pytest.mark.parametrize("family", seq2seq_toys.FAMILIES)
def test_the_saved_tables_have_a_row_for_every_mask_and_are_tied_as_before(trained, family):
    output, _ = trained(family)
    model = load_base(str(output), dtype="float32", quantization="none", auto_class=AutoModelForSeq2SeqLM)
    tables = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    assert all(len(table) >= len(load_tokenizer(str(output))) for table in tables)
    assert (tables[0] is tables[1]) == (family not in ("mt5", "pko-t5"))


@pytest.mark.parametrize("family", seq2seq_toys.FAMILIES)
def test_prediction_reads_what_training_read_and_does_not_depend_on_the_batch(base, trained, rows, tmp_path, family):
    output, _ = trained(family)
    dialogue = "#Person1#: 안녕하세요.\n#Person2#: 네, #Email#로 보내 주세요."
    tokenizer, _ = with_masks(base(family), family)
    assert fit_source(load_tokenizer(str(output)), dialogue, 64) == fit_source(tokenizer, dialogue, 64)
    argv = ["--model_name_or_path", str(output), "--test_file", str(rows / "dev.csv"), "--use_cpu", "true"]
    argv += ["--max_new_tokens", "8", "--bootstrap", "0"]
    one, eight = (
        predict({}, [*argv, "--batch_size", size, "--output_dir", str(tmp_path / size)])["summaries"]
        for size in ("1", "8")
    )
    assert one == eight and len(one) == 9


@pytest.mark.parametrize(("last", "share"), [("</s>", 0.0), ("안녕", 1.0)])
def test_a_summary_hits_the_limit_when_its_end_token_is_missing(base, last, share):
    tokenizer, _ = with_masks(base("t5"), "t5")  # it starts with the pad token
    words = tokenizer("안녕하세요", add_special_tokens=False).input_ids
    ids = [tokenizer.pad_token_id, *words, *tokenizer(last, add_special_tokens=False).input_ids]
    metrics = rouge_metrics(tokenizer, [["인사한다."]], RougeConfig())
    assert metrics(type("Prediction", (), {"predictions": np.array([ids])}))["hit_limit"] == share


@pytest.mark.slow
@pytest.mark.parametrize("family", ["kobart", "mbart-50"])
def test_rows_learned_by_heart_come_back_word_for_word(base, rows, tmp_path, family):
    flags = "--max_steps 800 --eval_strategy no --save_strategy no --load_best_model_at_end false --logging_steps 400"
    flags += f" --language {language(family)}" if language(family) else ""
    train(base(family), rows, tmp_path / "model", *flags.split())
    argv = f"--model_name_or_path {tmp_path / 'model'} --test_file {rows / 'train.csv'} --output_dir {tmp_path / 'out'}"
    scores = predict({}, f"{argv} --use_cpu true --max_new_tokens 60 --bootstrap 0".split())["scores"]
    assert scores.mean > 99


def test_an_mbart_without_a_language_is_an_error(base, rows, tmp_path):
    with pytest.raises(InputError, match="would read en_XX: give --language ko_KR"):
        train(base("mbart-50"), rows, tmp_path / "model")


def test_t5_in_float16_is_an_error(base, rows, tmp_path):
    with pytest.raises(InputError, match=r"--dtype float16: .* is a T5, which overflows there; use bfloat16"):
        train(base("t5"), rows, tmp_path / "model", "--dtype", "float16")
    check_precision(load_config(str(base("kobart"))), "float16")


def test_t5_reads_no_position_limit_and_kobart_does(base, rows, tmp_path):
    with pytest.raises(InputError, match="1026 positions"):
        train(base("kobart"), rows, tmp_path / "model", "--max_source_length", "2048")
    train(base("t5"), rows, tmp_path / "model", "--max_source_length", "2048", "--max_steps", "1")


def test_the_task_prefix_is_saved_with_the_model_and_read_by_prediction(base, rows, tmp_path):
    output = tmp_path / "model"
    train(base("t5"), rows, output, "--source_prefix", "요약: ")
    config = load_config(str(output))
    assert source_prefix(config) == "요약: "
    tokenizer = load_tokenizer(str(output))
    model = type("Model", (), {"config": config})
    [ids] = encode_prompts(Summarizer(model, tokenizer), ["#Person1#: 안녕"], GenerationSettings())
    assert tokenizer.decode(ids, skip_special_tokens=True) == "요약: #Person1#: 안녕"
