"""Instruction tuning: which prompts a row is trained with, from which adapter, and what evaluation keeps asking."""

import json
from collections import Counter

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.generation.engine import generate_ids
from dialsum_trl.models.adapters import check_adapter
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import INSTRUCTIONS
from dialsum_trl.prompts.sft_rows import choose_instructions, encode_dataset
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.stages.sft import train_sft
from tests.conftest import TINY
from tests.row_files import sample

ROWS = 12


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("rows"), train=ROWS) / "train.csv"


def asked(encoded, tokenizer):
    """How often each instruction occurs in the prompts of encoded rows."""
    texts = [tokenizer.decode(ids) for ids in encoded["input_ids"]]
    return Counter(line for text in texts for line in INSTRUCTIONS if line in text)


def encode(rows, mode, seed=42):
    tokenizer = load_tokenizer(str(TINY / "llama"))
    encoded, _ = encode_dataset(read_dialogues(rows), tokenizer, stop_token_ids(tokenizer), 1024, mode, seed)
    return encoded, tokenizer


def test_all_repeats_every_row_with_the_five_instructions(rows):
    encoded, tokenizer = encode(rows, "all")
    assert len(encoded) == 5 * ROWS and asked(encoded, tokenizer) == dict.fromkeys(INSTRUCTIONS, ROWS)


def test_random_keeps_the_size_and_asks_one_of_the_five(rows):
    encoded, tokenizer = encode(rows, "random")
    counts = asked(encoded, tokenizer)
    assert len(encoded) == ROWS == sum(counts.values()) and len(counts) > 1


def test_random_follows_its_seed():
    assert choose_instructions(50, "random", 1) == choose_instructions(50, "random", 1)
    assert choose_instructions(50, "random", 1) != choose_instructions(50, "random", 2)


def test_the_summary_and_the_loss_are_the_same_under_every_instruction(rows):
    encoded, _ = encode(rows, "all")
    learned = [tuple(token for token in labels if token != -100) for labels in encoded["labels"]]
    assert all(len(set(learned[i : i + 5])) == 1 for i in range(0, len(learned), 5))


def phase2(toy_base, adapter, rows, output, *flags):
    recipe = dict(model_name_or_path=str(toy_base), dtype="float32", quantization="none", use_cpu=True)
    small = dict(per_device_train_batch_size=4, effective_batch_size=4, learning_rate=1e-2, optim="adamw_torch")
    more = dict(rouge_rows=2, rouge_max_new_tokens=8, save_strategy="no", eval_strategy="no", fast=False)
    files = dict(train_file=str(rows), eval_file=str(TINY / "data" / "dev.csv"), output_dir=str(output))
    return train_sft({**recipe, **small, **more, **files, "adapter_path": str(adapter)}, list(flags))


def test_phase_2_goes_on_from_the_adapter_and_evaluates_the_default_instruction(
    toy_base, trained_adapter, rows, tmp_path, monkeypatch
):
    prompts = []
    generate = generate_ids
    monkeypatch.setattr(
        "dialsum_trl.training.dev_rouge.generate_ids",
        lambda model, ids, *rest: prompts.extend(ids) or generate(model, ids, *rest),
    )
    figures = phase2(
        toy_base, trained_adapter, rows, tmp_path / "out", "--instructions", "all", "--num_train_epochs", "2"
    )
    assert figures["rows"] == 5 * ROWS and figures["optimizer steps"] == 2 * 5 * ROWS / 4
    assert check_adapter(tmp_path / "out") == check_adapter(trained_adapter)
    assert json.loads((tmp_path / "out" / "dialsum.json").read_text(encoding="utf-8"))["instructions"] == "all"
    tokenizer = load_tokenizer(str(toy_base))
    assert len(prompts) == 2 and all(INSTRUCTIONS[0] in tokenizer.decode(ids) for ids in prompts)


def test_the_first_step_starts_where_phase_1_ended(toy_base, trained_adapter, rows, tmp_path):
    def loss_of_the_first_step(adapter, name):
        flags = ("--max_steps", "1", "--logging_steps", "1", "--warmup_steps", "0")
        phase2(toy_base, adapter, rows, tmp_path / name, *flags, "--rouge_rows", "0")
        log = json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        return next(entry["loss"] for entry in log if "loss" in entry)

    fresh = loss_of_the_first_step("", "fresh")
    assert loss_of_the_first_step(trained_adapter, "continued") < fresh


def test_an_adapter_of_another_base_is_one_line(trained_adapter, rows, tmp_path):
    with pytest.raises(InputError, match=r"--adapter_path .* is another model") as caught:
        phase2(TINY / "qwen3", trained_adapter, rows, tmp_path / "out", "--instructions", "random")
    assert "\n" not in str(caught.value)
