"""`dialsum merge`: the merged model is the adapter's function, stops where it should, and can be served and pushed."""

import json
import re
import shutil

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig

from dialsum_trl.cli import merge
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.generation.settings import Summary
from dialsum_trl.prompts.prompt import encode_prompt, prompt_messages
from dialsum_trl.prompts.templates import PINNED_DATE
from dialsum_trl.sharing.push import shared_files
from tests.conftest import TINY

DEV = str(TINY / "data" / "dev.csv")


@pytest.fixture(scope="module")
def merged(trained_adapter, tmp_path_factory):
    output = tmp_path_factory.mktemp("merged") / "model"
    assert merge.merge_adapter(trained_adapter, output, dtype="float32")
    return output


def logits(model, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([encode_prompt(tokenizer, read_dialogues(DEV)[0]["dialogue"])])
    with torch.no_grad():
        return model.eval()(ids).logits.float()


def adapter_model(toy_base, trained_adapter, dtype):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(toy_base, dtype=dtype), trained_adapter)


def test_logits_equal_the_adapters(merged, toy_base, trained_adapter):
    expected = logits(adapter_model(toy_base, trained_adapter, torch.float32), trained_adapter)
    assert (logits(AutoModelForCausalLM.from_pretrained(toy_base), toy_base) - expected).abs().max() > 0.01
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(merged), merged), expected, atol=1e-5, rtol=0
    )


def test_logits_in_bfloat16_are_within_a_hundredth(trained_adapter, toy_base, tmp_path):
    merge.merge_adapter(trained_adapter, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.bfloat16
    expected = logits(adapter_model(toy_base, trained_adapter, torch.bfloat16), trained_adapter)
    torch.testing.assert_close(logits(model, tmp_path / "model"), expected, atol=1e-2, rtol=0)


def test_verify_finds_equal_summaries_on_the_sample_rows(trained_adapter, tmp_path, capsys):
    assert merge.merge_adapter(trained_adapter, tmp_path / "model", dtype="float32", verify=DEV, rows=6)
    assert re.search(r"equal summaries\s+6\n", re.sub(r" +\n", "\n", capsys.readouterr().out))


def test_verify_fails_a_merged_model_that_is_clearly_worse(merged, trained_adapter, tmp_path, monkeypatch, capsys):
    references = read_dialogues(DEV)["summaries"]

    def summaries(summarizer, dialogues, settings, **_):
        good = summarizer == "adapter"
        return [Summary(row[0] if good else "네", 1, False) for row in references[: len(dialogues)]]

    monkeypatch.setattr(merge, "load_summarizer", lambda **named: "adapter" if "adapter_path" in named else "merged")
    monkeypatch.setattr(merge, "summarize", summaries)
    settings = {"adapter_path": "x", "model_name_or_path": "y", "model_revision": "main", "dtype": "float32"}
    assert not merge.compare_merged(merged, settings, read_dialogues(DEV).select(range(20)))
    assert "clearly worse" in capsys.readouterr().out


def test_generation_stops_on_both_ends_and_is_greedy(merged):
    tokenizer = AutoTokenizer.from_pretrained(merged)
    config = GenerationConfig.from_pretrained(merged)
    assert tokenizer.convert_ids_to_tokens(config.eos_token_id) == ["<|eot_id|>", "<|end_of_text|>"]
    assert (config.pad_token_id, config.do_sample) == (tokenizer.pad_token_id, False)


def test_the_template_pins_the_date_of_training_for_servers_that_pass_none(merged, trained_adapter):
    messages = prompt_messages("#Person1#: 네.")
    as_served = AutoTokenizer.from_pretrained(merged).apply_chat_template(messages, tokenize=False)
    trained = AutoTokenizer.from_pretrained(trained_adapter)
    assert as_served == trained.apply_chat_template(messages, tokenize=False, date_string=PINNED_DATE)
    assert as_served != trained.apply_chat_template(messages, tokenize=False)


def test_templates_without_a_date_stay_as_they_are(real_tokenizers):
    template = real_tokenizers["qwen2_5"].chat_template
    assert merge.pin_values(template) == template


def test_weights_are_sharded_safetensors(trained_adapter, tmp_path):
    merge.merge_adapter(trained_adapter, tmp_path / "model", dtype="float32", shard_size="200KB")
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    assert not list((tmp_path / "model").glob("*.bin"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model")


def test_the_merged_model_can_be_pushed_with_its_card(merged):
    files = shared_files(merged, "tester/merged", base="acme/toy-llama")
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= files.keys()
    assert "adapter_config.json" not in files
    contents = [content if isinstance(content, bytes) else content.read_bytes() for content in files.values()]
    assert not any(b"/tmp" in content or str(merged.parent.parent).encode() in content for content in contents)
    card = files["README.md"].decode()
    assert "base_model_relation: finetune" in card
    assert 'AutoModelForCausalLM.from_pretrained("tester/merged"' in card


def test_serve_commands_name_the_folders(trained_adapter, tmp_path, capsys):
    merge.merge_adapter(trained_adapter, tmp_path / "model", dtype="float32")
    output = capsys.readouterr().out
    assert f"vllm serve {tmp_path / 'model'} " in output
    assert f"--max-lora-rank 16 --lora-modules dialsum={trained_adapter}" in output


def test_the_adapter_is_served_on_the_revision_that_it_was_trained_on(trained_adapter, tmp_path, capsys):
    adapter = shutil.copytree(trained_adapter, tmp_path / "adapter")
    record = json.loads((adapter / "dialsum.json").read_text())
    (adapter / "dialsum.json").write_text(json.dumps(record | {"base_revision": "1f2e3d"}))
    merge.merge_adapter(adapter, tmp_path / "model", dtype="float32")
    assert f"vllm serve {record['base_model']} --revision 1f2e3d --enable-lora" in capsys.readouterr().out


def test_nothing_is_overwritten(trained_adapter, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match="nothing is overwritten"):
        merge.merge_adapter(trained_adapter, tmp_path / "model")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"verify": "nope.csv"}, "nope.csv does not exist"),
        ({"verify": "test.csv"}, "no column 'summary'.*--summary_column"),
        ({"verify": DEV, "columns": {"summary": "text"}}, "no column 'text'"),
        ({"verify": DEV, "rows": 0}, "--rows 0: must be at least 1"),
        ({"shard_size": "big"}, "--max_shard_size big: give a number and KB, MB, GB or TB"),
    ],
)
def test_what_cannot_be_verified_is_refused_before_anything_is_merged(
    trained_adapter, tmp_path, monkeypatch, flags, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.csv").write_text("fname,dialogue\na,#Person1#: 네.\n", encoding="utf-8")
    monkeypatch.setattr(merge, "write_merged", lambda *_: pytest.fail("merged first"))
    with pytest.raises(InputError, match=message):
        merge.merge_adapter(trained_adapter, tmp_path / "model", **flags)
    assert [path.name for path in tmp_path.iterdir()] == ["test.csv"]


def test_an_adapter_of_another_base_is_one_clear_line_and_leaves_nothing(trained_adapter, toy_base, tmp_path):
    other = shutil.copytree(toy_base, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(toy_base)

    wide = LlamaConfig(**{**config, "hidden_size": 32, "head_dim": 8, "vocab_size": len(tokenizer)})
    AutoModelForCausalLM.from_config(wide).save_pretrained(other)
    with pytest.raises(InputError, match="is another model"):
        merge.merge_adapter(trained_adapter, tmp_path / "model", model=str(other))
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_no_adapter_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        merge.merge_adapter(tmp_path / "nothing", tmp_path / "model")


def test_an_adapter_that_names_no_base_asks_for_it(trained_adapter, tmp_path):
    folder = shutil.copytree(trained_adapter, tmp_path / "adapter")
    (folder / "dialsum.json").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(InputError, match="--model_name_or_path"):
        merge.merge_adapter(folder, tmp_path / "model")
