"""The encoder-decoder baseline: rows as the model reads them, training on the toy BART, prediction with the result."""

import json
import runpy

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from tokenizers import processors
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, Seq2SeqTrainingArguments

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.patterns import MASKS
from dialsum_trl.models.base import resize_embeddings
from dialsum_trl.models.encoder_decoder import start_from_pieces
from dialsum_trl.prompts.text_pairs import add_mask_tokens, encode_target, encode_text_pairs, fit_source
from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.seq2seq import train_seq2seq
from dialsum_trl.training.seq2seq_trainer import Seq2SeqTrainer
from tests import phase3_toys as toys
from tests.conftest import ROOT, TINY
from tests.row_files import sample

BART = str(TINY / "bart")


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(BART)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("rows"), train=24, dev=4)


def train(rows, output, *flags):
    recipe = runpy.run_path(str(ROOT / "recipes" / "seq2seq_kobart.py"))["RECIPE"]
    argv = [
        "--model_name_or_path", BART, "--dtype", "float32", "--use_cpu", "true", "--output_dir", str(output),
        "--train_file", str(rows / "train.csv"), "--eval_file", str(rows / "dev.csv"), "--max_steps", "2",
        "--per_device_train_batch_size", "8", "--effective_batch_size", "8", "--logging_steps", "1",
        "--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "1", "--save_steps", "1",
        "--generation_max_length", "16", "--disable_tqdm", "true", *flags,
    ]  # fmt: skip
    return train_seq2seq(recipe, argv)


@pytest.fixture(scope="module")
def trained(rows, tmp_path_factory):
    output = tmp_path_factory.mktemp("seq2seq") / "model"
    return output, train(rows, output)


def test_masks_become_single_tokens_and_survive_decoding(tokenizer):
    pieces = add_mask_tokens(tokenizer)
    assert len(pieces) == len(MASKS) and all(len(old) > 1 for old in pieces.values())
    text = "#Person1#은 #Person2#에게 #PhoneNumber#로 전화해 달라고 한다."
    ids = tokenizer(text).input_ids
    assert sum(i in pieces for i in ids) == 3
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_adding_masks_twice_adds_nothing(tokenizer):
    add_mask_tokens(tokenizer)
    assert add_mask_tokens(tokenizer) == {}


def test_a_new_token_starts_at_the_mean_of_its_pieces(tokenizer):
    model = AutoModelForSeq2SeqLM.from_pretrained(BART)
    pieces = add_mask_tokens(tokenizer)
    resize_embeddings(model, tokenizer)
    start_from_pieces(model, pieces)
    weight = model.get_input_embeddings().weight
    for new, old in pieces.items():
        assert torch.allclose(weight[new], weight[old].mean(0))


def test_source_and_target_end_with_one_end_token_whatever_the_tokenizer_adds(tokenizer):
    for bare in (False, True):
        if bare:  # as KoBART's: nothing around a text
            tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
        for ids in (fit_source(tokenizer, "#Person1#: 안녕", 64).prompt_ids, encode_target(tokenizer, "인사한다.", 64)):
            assert ids[-1] == tokenizer.eos_token_id and ids.count(tokenizer.eos_token_id) == 1


def test_an_overlong_dialogue_loses_middle_turns_only(tokenizer):
    turns = [f"#Person{1 + i % 2}#: {i}번 이야기를 계속합니다." for i in range(60)]
    fitted = fit_source(tokenizer, "\n".join(turns), 100)
    assert len(fitted.prompt_ids) <= 100
    assert fitted.text.startswith(turns[0]) and fitted.text.endswith(turns[-1])
    assert fitted.prompt_ids[-1] == tokenizer.eos_token_id


def test_a_summary_that_would_be_cut_is_an_error_that_names_the_row(tokenizer):
    rows = Dataset.from_list([{"fname": "train_7", "dialogue": "#Person1#: 안녕", "summaries": ["인사한다. " * 50]}])
    with pytest.raises(InputError, match=r"row train_7: .*--max_target_length 20"):
        encode_text_pairs(rows, tokenizer, 64, 20)


def test_training_scores_summaries_and_leaves_a_whole_model(trained):
    output, figures = trained
    assert figures["optimizer steps"] == 2 and figures["mask tokens added"] == len(MASKS)
    assert 0 <= figures["eval_rouge_sum"] <= 300
    for name in ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "dialsum.json"):
        assert (output / name).exists()
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    assert all(0 < entry["grad_norm"] < 1e3 for entry in log if "grad_norm" in entry)


def test_the_best_checkpoint_is_the_one_with_the_highest_rouge_sum(trained):
    output, _ = trained
    state = json.loads((output / "trainer_state.json").read_text())
    sums = [entry["eval_rouge_sum"] for entry in state["log_history"] if "eval_rouge_sum" in entry]
    assert state["best_metric"] == max(sums)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_is_the_same_however_its_rows_are_divided(rows, tmp_path, smoothing):
    figures = []
    for size in (8, 4, 2):
        output = tmp_path / str(size)
        flags = {"per_device_train_batch_size": size, "label_smoothing_factor": smoothing, "max_steps": 1}
        flags |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": "false"}
        train(rows, output, *toys.flags(flags))
        (first,) = (e for e in json.loads((output / "trainer_state.json").read_text())["log_history"] if "loss" in e)
        figures.append((first["loss"], first["grad_norm"]))
    assert figures[1] == pytest.approx(figures[0], rel=1e-5) == figures[2]


def test_tied_weights_are_saved_once_where_copies_of_all_weights_are_given(trained, tmp_path):
    """As DeepSpeed gives them."""
    model = AutoModelForSeq2SeqLM.from_pretrained(trained[0])
    args = Seq2SeqTrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    copies = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Seq2SeqTrainer(model=model, args=args)._save(str(tmp_path), state_dict=copies)
    saved, whole = (load_file(folder / "model.safetensors") for folder in (tmp_path, trained[0]))
    assert saved.keys() == whole.keys() < copies.keys()


def test_predict_serves_the_trained_model(trained, rows, tmp_path):
    output, _ = trained
    argv = ["--model_name_or_path", str(output), "--test_file", str(rows / "dev.csv"), "--use_cpu", "true"]
    result = predict({}, [*argv, "--output_dir", str(tmp_path), "--max_new_tokens", "8", "--bootstrap", "10"])
    assert len(result["summaries"]) == 4 and result["scores"].n == 4
    assert (tmp_path / "submission.csv").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--quantization", "4bit"), "--quantization 4bit.*in full"),
        (("--use_peft", "true"), "--use_peft True.*in full"),
        (("--max_source_length", "4096"), "1024 positions"),
        (("--language", "ko_KR"), "--language ko_KR"),
    ],
)
def test_what_the_model_cannot_do_is_one_line(rows, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        train(rows, tmp_path / "model", *flags)
