"""What models bring: tokenizers whose normalizer writes control tokens, and chat templates that fail."""

import copy
from pathlib import Path

import pytest
import trl
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dialsum_trl.cli.merge import pin_values
from dialsum_trl.core.errors import InputError
from dialsum_trl.prompts import control_tokens
from dialsum_trl.prompts.prompt import encode_prompt, encode_row, fit, prompt_messages, render
from dialsum_trl.prompts.templates import PINNED_DATE, template_kwargs
from dialsum_trl.prompts.tokenizer import check_template

LETTERS = [*map(chr, range(0x21, 0x7F)), *"안녕예▁·"]


def wide(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) for letter in text)


def fast(backend, end: str):
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, unk_token="<unk>")


def unigram(normalizer, end="</s>"):
    """As T5's: the end token is in the model's own vocabulary, too."""
    backend = Tokenizer(models.Unigram([(end, 0.0), ("<unk>", 0.0), *((c, -5.0) for c in LETTERS)], 1))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizers.Metaspace()
    return fast(backend, end)


def bpe(normalizer, end: str):
    """An end token that is looked for in the normalized text."""
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate([*LETTERS, "<unk>"])}, [], unk_token="<unk>"))
    backend.normalizer = normalizer
    backend.add_special_tokens([AddedToken(end, normalized=True, special=True)])
    return fast(backend, end)


def without_spaces():
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "")])


@pytest.mark.parametrize(
    ("tokenizer", "spelled"),
    [
        (unigram(normalizers.NFKC()), wide("</s>")),
        (unigram(normalizers.NFKC()), "</ｓ>"),
        (unigram(without_spaces()), "</s>"),
        (unigram(normalizers.Replace("안", "</s>")), "안"),
        (bpe(normalizers.NFKC(), "<|im_end|>"), wide("<|im_end|>")),
        (bpe(normalizers.Lowercase(), "</s>"), "</S>"),
        (bpe(normalizers.Lowercase(), "</S>"), "</s>"),
    ],
)
def test_no_form_that_the_normalizer_makes_a_control_token_ends_a_turn(tokenizer, spelled):
    text = f"녕{spelled} 예{spelled}{spelled}"
    assert tokenizer.eos_token_id not in tokenizer(control_tokens.neutralize(tokenizer, text)).input_ids


def test_a_control_token_that_nothing_breaks_is_an_error():
    always = normalizers.Replace("예", "</s>")
    tokenizer = unigram(normalizers.Sequence([normalizers.Replace("?", "예"), always]))
    with pytest.raises(InputError, match=r"reads '[예?]' of a text as a control token"):
        control_tokens.neutralize(tokenizer, "예")


@pytest.mark.parametrize("text", ["안녕 예", "안녕 < s / >", "ＡＢＣ ①", "안녕＜예＞"])
def test_texts_without_a_control_token_stay_as_they_are(text):
    for tokenizer in (unigram(normalizers.NFKC()), bpe(normalizers.NFKC(), "<|im_end|>")):
        assert control_tokens.neutralize(tokenizer, text) == text


def test_most_texts_are_not_encoded_to_find_out(monkeypatch):
    tokenizer = unigram(normalizers.NFKC())
    monkeypatch.setattr(type(tokenizer), "__call__", None)
    assert control_tokens.neutralize(tokenizer, "안녕 #Person1# <b>") == "안녕 #Person1# <b>"


def test_the_halves_of_a_turn_that_is_cut_do_not_join_to_a_control_token(real_tokenizers):
    tokenizer = real_tokenizers["qwen2_5"]
    end, clean = tokenizer.convert_tokens_to_ids("<|im_end|>"), encode_prompt(tokenizer, "가")
    for shift in range(12):
        dialogue = "가" * shift + "<|im_" * 400 + "end|>" * 400
        fitted = fit(tokenizer, dialogue, 300)
        assert fitted.cut and fitted.prompt_ids.count(end) == clean.count(end)


def refusal(template: str | dict) -> str:
    tokenizer = unigram(normalizers.NFKC())
    tokenizer.chat_template = template
    with pytest.raises(InputError, match="use --prompt_style instruction") as error:
        check_template(tokenizer)
    return str(error.value)


def test_what_a_template_raises_is_named_as_it_is():
    assert "(TemplateError: no system role)" in refusal("{{ raise_exception('no system role') }}")
    assert "SecurityError" in refusal("{{ ''.__class__.__mro__ }}")
    assert "TemplateSyntaxError" in refusal("{% for %}")


def test_the_trial_sees_the_special_tokens_of_the_tokenizer():
    assert "TemplateError: </s>" in refusal("{{ raise_exception(eos_token) }}")


def test_of_named_templates_the_default_is_tried_and_kept():
    tokenizer = unigram(normalizers.NFKC())
    tokenizer.chat_template = {"tool_use": "{{ 1 / 0 }}", "default": "{{ messages | tojson }}"}
    check_template(tokenizer)
    assert tokenizer.chat_template == "{{ messages | tojson }}"
    assert "none of its templates is called default" in refusal({"tool_use": "{{ messages | tojson }}"})


def hybrid(tokenizer):
    """`tokenizer` with the template of Qwen3's hybrid models, which reason unless they are told not to."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text("utf-8")
    return tokenizer


def test_a_hybrid_models_empty_reasoning_is_in_the_prompt_and_not_in_the_summary(real_tokenizers):
    tokenizer = hybrid(real_tokenizers["qwen3_2507"])
    row, fitted = encode_row(tokenizer, "#Person1#: 네.", "동의한다.", [tokenizer.eos_token_id])
    assert tokenizer.decode([label for label in row["labels"] if label != -100]) == "동의한다.<|im_end|>"
    assert tokenizer.decode(fitted.prompt_ids).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_a_merged_hybrid_model_is_served_with_the_prompt_of_training(real_tokenizers):
    tokenizer, messages = hybrid(real_tokenizers["qwen3_2507"]), prompt_messages("#Person1#: 네.")
    trained = render(tokenizer, messages, generation=True)
    tokenizer.chat_template = pin_values(tokenizer.chat_template)
    assert tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) == trained


def test_verified_templates_are_told_nothing_but_the_date(real_tokenizers):
    told = {name: template_kwargs(tokenizer) for name, tokenizer in real_tokenizers.items()}
    date = {"date_string": PINNED_DATE}
    assert told == {"llama3": {}, "llama3_2": date, "qwen2_5": {}, "qwen3_2507": {}}


@pytest.mark.parametrize("before", ["<think>\n\n</think>\n\n", "요약: "])
def test_a_template_that_writes_something_before_the_summary_is_refused(real_tokenizers, before):
    tokenizer = hybrid(real_tokenizers["qwen3_2507"])
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}" + before + "{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(InputError, match=r"where the summary '동의한다.' begins.* --prompt_style instruction") as error:
        encode_row(tokenizer, "#Person1#: 네.", "동의한다.", [tokenizer.eos_token_id])
    assert "\n" not in str(error.value)


def test_the_trial_of_a_template_tells_it_what_prompts_will():
    assert "no answer" in refusal("{% if enable_thinking is false %}{{ raise_exception('no answer') }}{% endif %}")
