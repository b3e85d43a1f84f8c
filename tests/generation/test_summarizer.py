"""Summaries of dialogues: their order, adapters on quantized bases, settings and names that make no sense."""

import pytest
import torch

from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.summaries import summarize
from dialsum_trl.generation.summarizer import dequantize_if_it_fits, load_summarizer
from tests.conftest import TINY
from tests.generation_toys import DIALOGUES, lora, tiny_summarizer


def test_summaries_come_in_the_order_of_the_dialogues_whatever_the_batch():
    summarizer = tiny_summarizer()
    settings = {"max_new_tokens": 24, "num_beams": 4}
    one = summarize(summarizer, DIALOGUES, GenerationSettings(batch_size=1, **settings), progress=False)
    eight = summarize(summarizer, DIALOGUES, GenerationSettings(batch_size=8, **settings), progress=False)
    reverse = summarize(summarizer, DIALOGUES[::-1], GenerationSettings(**settings), progress=False)
    assert one == eight == reverse[::-1]
    for summary in one:
        assert summary.hit_limit == (summary.tokens == 24)
        assert "<|" not in summary.text and summary.text == summary.text.strip()


def test_several_summaries_a_dialogue_come_as_lists():
    settings = GenerationSettings(max_new_tokens=8, num_beams=4, num_return_sequences=3)
    result = summarize(tiny_summarizer(), DIALOGUES[:2], settings, progress=False)
    assert [len(candidates) for candidates in result] == [3, 3]


def test_an_overlong_dialogue_is_shortened_as_in_training(capsys):
    long = "\n".join(f"#Person{1 + i % 2}#: {i}번 이야기를 계속합니다." for i in range(100))
    settings = GenerationSettings(max_new_tokens=8, num_beams=1, max_length=200)
    assert len(summarize(tiny_summarizer(), [long, DIALOGUES[0]], settings, progress=False)) == 2
    assert "1 of 2 dialogues lost middle turns to fit into 192 prompt tokens" in capsys.readouterr().out


def test_the_dequantized_base_with_a_merged_adapter_is_the_function_that_was_trained(tmp_path):
    quantized = {"dtype": "float32", "quantization": "4bit"}
    adapted = lora(tiny_summarizer(quantization="4bit").model)
    adapted.save_pretrained(tmp_path)
    apart = load_summarizer(str(TINY / "llama"), str(tmp_path), **quantized, device="cpu", merge=False)
    merged = load_summarizer(str(TINY / "llama"), str(tmp_path), **quantized, device="cpu")
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    ids = torch.arange(30, 60)[None]
    with torch.no_grad():
        expected, found = apart.model(ids).logits, merged.model(ids).logits
    assert torch.allclose(found, expected, atol=1e-3 * expected.abs().max().item())
    settings = GenerationSettings(max_new_tokens=8)
    assert summarize(apart, DIALOGUES, settings, progress=False) == summarize(
        merged, DIALOGUES, settings, progress=False
    )


def test_dequantizing_leaves_plain_linear_layers_with_the_rounded_weights():
    model = tiny_summarizer(quantization="4bit", merge=False).model
    ids = torch.arange(30, 60)[None]
    with torch.no_grad():
        before = model(ids).logits
        assert dequantize_if_it_fits(model, "float32")
        after = model(ids).logits
    assert type(model.model.layers[0].mlp.up_proj) is torch.nn.Linear
    assert torch.allclose(before, after, atol=1e-4 * before.abs().max().item())


@pytest.mark.parametrize(
    "wrong, named",
    [
        ({"num_beams": 0}, "--num_beams 0"),
        ({"max_new_tokens": 0}, "--max_new_tokens 0"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"no_repeat_ngram_size": -1}, "--no_repeat_ngram_size -1"),
        ({"do_sample": True}, "--do_sample with --num_beams 4"),
        ({"do_sample": True, "num_beams": 1, "temperature": 0.0}, "--temperature 0.0"),
        ({"do_sample": True, "num_beams": 1, "top_p": 0.0}, "--top_p 0.0"),
        ({"num_return_sequences": 5}, "--num_return_sequences 5"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong, named):
    with pytest.raises(InputError, match=named) as caught:
        GenerationSettings(**wrong)
    assert "\n" not in str(caught.value)


def test_an_adapter_that_is_none_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="--adapter_path") as caught:
        tiny_summarizer(adapter_path=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_vllm_is_optional_and_says_how_to_do_without():
    with pytest.raises(InputError, match="--engine vllm: vLLM is not installed"):
        tiny_summarizer(engine="vllm")
