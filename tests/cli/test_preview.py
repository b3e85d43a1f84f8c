"""`dialsum preview` and the reading of recipes: what is shown is what the trainer gets."""

import json
import re
import shutil

import pytest
from rich.console import Console

from dialsum_trl.cli import preview
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.resolve import read_recipe
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import encode_row
from dialsum_trl.prompts.tokenizer import load_tokenizer
from tests.conftest import ROOT, TINY

RECIPE = ROOT / "recipes" / "sft_llama3b.py"
TOY = {"model_name_or_path": str(TINY / "llama"), "train_file": str(TINY / "data" / "train.csv")}


def shown(capsys, row="0", tokens=False, **overrides):
    preview.show_row(RECIPE, row, None, {**TOY, **overrides}, tokens)
    return capsys.readouterr().out


def margin(output, kind):
    """The lines of one kind without their margin."""
    return [line[8:] for line in output.splitlines() if line[:7].strip() == kind]


def first_row():
    return read_dialogues(TOY["train_file"])[0]


def test_the_learned_part_is_the_summary_and_its_end_of_turn(capsys):
    assert "\n".join(margin(shown(capsys), "learned")) == first_row()["summaries"][0].strip() + "<|eot_id|>"


def test_the_prompt_shows_special_tokens_and_the_whole_dialogue(capsys):
    prompt = "\n".join(margin(shown(capsys), "prompt"))
    assert prompt.startswith("<|begin_of_text|><|start_header_id|>system<|end_header_id|>")
    assert first_row()["dialogue"] in prompt


def test_dropped_turns_stand_where_they_stood(capsys):
    output = shown(capsys, max_length=130)
    dropped = margin(output, "dropped")
    assert dropped
    lines = [
        line[8:].removesuffix("<|eot_id|><|start_header_id|>assistant<|end_header_id|>") for line in output.split("\n")
    ]
    turns = first_row()["dialogue"].split("\n")
    assert [line for line in lines if line in turns] == turns
    assert set(dropped) < set(turns)


def test_the_token_list_is_the_trainers_row_id_by_id(capsys):
    tokenizer = load_tokenizer(TOY["model_name_or_path"])
    row = first_row()
    expected, _ = encode_row(tokenizer, row["dialogue"], row["summaries"][0], stop_token_ids(tokenizer))
    lines = [line for line in shown(capsys, tokens=True).splitlines() if re.search(r"(prompt|learned)\s*$", line)]
    ids, learned = [], 0
    for line in lines:
        numbers = [int(n) for n in re.match(r"\s*((?:\d+ )+)", line + " ")[1].split()]
        ids += numbers
        learned += len(numbers) * line.rstrip().endswith("learned")
    assert ids == expected["input_ids"]
    assert learned == sum(label != -100 for label in expected["labels"])


@pytest.mark.parametrize("name", ["llama3_2", "qwen2_5", "qwen3_2507"])
def test_tokens_that_share_a_character_stand_together(real_tokenizers, name):
    tokenizer = real_tokenizers[name]
    encoded, _ = encode_row(tokenizer, "#Person1#: 뷁쀍 🐘\n#Person2#: 네", "뷁쀍 🐘", stop_token_ids(tokenizer))
    found = preview.pieces(tokenizer, encoded)
    assert not any("\ufffd" in piece.text for piece in found)
    assert [i for piece in found for i in piece.ids] == encoded["input_ids"]
    assert "".join(piece.text for piece in found if piece.learned).startswith("뷁쀍 🐘")


def test_in_a_terminal_kinds_have_colours_and_dropped_turns_are_struck_through(capsys):
    tokenizer = load_tokenizer(TOY["model_name_or_path"])
    row = first_row()
    encoded, fitted = encode_row(tokenizer, row["dialogue"], row["summaries"][0], stop_token_ids(tokenizer), 130)
    console = Console(force_terminal=True, width=80, color_system="standard", highlight=False)
    preview.print_text(console, preview.pieces(tokenizer, encoded), row["dialogue"].split("\n"), fitted)
    output = capsys.readouterr().out
    assert "\x1b[9;31m" in output or "\x1b[9m\x1b[31m" in output
    assert "\x1b[92m" in output
    assert all(len(re.sub(r"\x1b\[[\d;]*m", "", line)) <= 80 for line in output.splitlines())


def test_a_row_is_found_by_its_fname(capsys):
    assert shown(capsys, row="train_7").startswith("row train_7 (number 7 from 0): ")


def test_a_name_goes_before_a_number_and_the_line_says_both(tmp_path, capsys):
    rows = tmp_path / "train.csv"
    names = ["1", "2", "3", "네"]
    rows.write_text("fname,dialogue,summary\n" + "".join(f"{n},#Person1#: {n},{n}\n" for n in names), "utf-8")
    for wanted, taken in (("3", "row 3 (number 2 from 0): "), ("1", "row 1 (number 0 from 0): "),
                          ("0", "row 1 (number 0 from 0): ")):  # fmt: skip
        assert shown(capsys, row=wanted, train_file=str(rows)).startswith(taken)


def test_a_row_that_is_not_there_is_one_clear_line():
    with pytest.raises(InputError, match=r"has the rows 0 to \d+"):
        preview.show_row(RECIPE, "99999", None, TOY)


def test_without_rows_the_flag_is_named():
    with pytest.raises(InputError, match="--train_file"):
        preview.show_row(RECIPE, "0", None, {"model_name_or_path": TOY["model_name_or_path"]})


def test_a_recipe_of_another_stage_is_refused():
    with pytest.raises(InputError, match="SFT"):
        preview.show_row(ROOT / "recipes" / "predict.py", "0", None, TOY)


def test_settings_are_merged_as_the_run_would_merge_them(tmp_path):
    config = tmp_path / "my.yaml"
    config.write_text("max_length: 700\nsft:\n  lora_r: 4\npredict:\n  lora_r: 9\n", encoding="utf-8")
    stage, settings, given = read_recipe(RECIPE, str(config), {"lora_alpha": 7, "seed": None})
    assert stage.name == "sft" and given == {"max_length", "lora_r", "lora_alpha"}
    assert settings["model_name_or_path"] == "Bllossom/llama-3.2-Korean-Bllossom-3B"  # recipe
    assert (settings["max_length"], settings["lora_r"], settings["lora_alpha"]) == (700, 4, 7)
    assert settings["lora_dropout"] == 0.05


def test_an_adapter_that_is_trained_further_is_shown_in_its_own_prompt_style(trained_adapter, tmp_path, capsys):
    shutil.copytree(trained_adapter, adapter := tmp_path / "adapter")
    record = json.loads((adapter / "dialsum.json").read_text(encoding="utf-8"))
    (adapter / "dialsum.json").write_text(json.dumps(record | {"prompt_style": "instruction"}), encoding="utf-8")
    changes = {"model_name_or_path": record["base_model"], "adapter_path": str(adapter)}
    assert "### Instruction" in shown(capsys, **changes)
    assert "### Instruction" not in shown(capsys, **changes, prompt_style="native")


@pytest.mark.parametrize("content", ["x = 1\n", "RECIPE = {}\n"])
def test_a_file_that_is_no_recipe_is_one_clear_line(tmp_path, content):
    path = tmp_path / "other.py"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="is no recipe"):
        read_recipe(path)


def test_a_missing_recipe_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="no such recipe"):
        read_recipe(tmp_path / "sft_llama99b.py")
