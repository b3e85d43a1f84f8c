"""What strangers bring: tokenizers whose normalizer writes control tokens, and chat templates that do not end."""

import shutil
import sys
import time

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from dialsum_trl import prompts
from dialsum_trl.chat_template import check_template
from dialsum_trl.errors import InputError
from tests.conftest import TINY

LETTERS = [*map(chr, range(0x21, 0x7F)), *"안녕예▁·"]


def wide(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) for letter in text)


def fast(backend, end: str):
    from transformers import PreTrainedTokenizerFast

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
    assert tokenizer.eos_token_id not in tokenizer(prompts.neutralize(tokenizer, text)).input_ids


def test_a_control_token_that_nothing_breaks_is_an_error():
    always = normalizers.Replace("예", "</s>")
    tokenizer = unigram(normalizers.Sequence([normalizers.Replace("?", "예"), always]))
    with pytest.raises(InputError, match=r"reads '[예?]' of a text as a control token"):
        prompts.neutralize(tokenizer, "예")


@pytest.mark.parametrize("text", ["안녕 예", "안녕 < s / >", "ＡＢＣ ①", "안녕＜예＞"])
def test_texts_without_a_control_token_stay_as_they_are(text):
    for tokenizer in (unigram(normalizers.NFKC()), bpe(normalizers.NFKC(), "<|im_end|>")):
        assert prompts.neutralize(tokenizer, text) == text


def test_most_texts_are_not_encoded_to_find_out(monkeypatch):
    tokenizer = unigram(normalizers.NFKC())
    monkeypatch.setattr(type(tokenizer), "__call__", None)
    assert prompts.neutralize(tokenizer, "안녕 #Person1# <b>") == "안녕 #Person1# <b>"


def test_the_halves_of_a_turn_that_is_cut_do_not_join_to_a_control_token(real_tokenizers):
    tokenizer = real_tokenizers["qwen2_5"]
    end, clean = tokenizer.convert_tokens_to_ids("<|im_end|>"), prompts.encode_prompt(tokenizer, "가")
    for shift in range(12):
        dialogue = "가" * shift + "<|im_" * 400 + "end|>" * 400
        fitted = prompts.fit(tokenizer, dialogue, 300)
        assert fitted.cut and fitted.prompt_ids.count(end) == clean.count(end)


class Templated:
    """As much of a tokenizer as a chat template needs."""

    name_or_path = "strange"

    def __init__(self, chat_template):
        self.special_tokens_map = {"bos_token": "<s>"}
        self.chat_template = chat_template


def refusal(template: str) -> str:
    with pytest.raises(InputError) as error:
        check_template(Templated(template))
    return str(error.value)


def test_a_template_that_takes_long_in_one_expression_is_refused_in_seconds(toy_base, tmp_path):
    """`str.rfind` is quadratic here: minutes in C code, where no signal handler of Python runs."""
    from dialsum_trl.models import load_tokenizer

    base, n = shutil.copytree(toy_base, tmp_path / "base"), 1_000_000
    template = f'{{% set s = "a" * {4 * n} %}}{{{{ s.rfind("a" * {n} ~ "b" ~ "a" * {n}) }}}}'
    (base / "chat_template.jinja").write_text(template)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"does not end within 3 seconds\); use --prompt_style instruction"):
        load_tokenizer(str(base))
    assert time.monotonic() - start < 30


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel bounds memory so on Linux only")
def test_a_template_that_asks_for_much_memory_is_refused():
    assert "MemoryError" in refusal("{{ ('a' * (3 * 10 ** 9)) | length }}")


def test_what_a_template_raises_is_named_as_it_is():
    assert "(TemplateError: no system role)" in refusal("{{ raise_exception('no system role') }}")
    assert "SecurityError" in refusal("{{ ''.__class__.__mro__ }}")


def test_the_trial_sees_the_special_tokens_of_the_tokenizer():
    assert "TemplateError: <s>" in refusal("{{ raise_exception(bos_token) }}")


def test_an_unknown_template_is_tried_by_transformers_own_renderer():
    assert check_template(Templated("{% generation %}{{ messages | tojson }}{% endgeneration %}")) is None


def test_known_templates_start_no_process(monkeypatch):
    monkeypatch.setattr("dialsum_trl.chat_template._trial", None)
    for name in ("llama", "qwen3"):
        assert check_template(Templated((TINY / name / "chat_template.jinja").read_text(encoding="utf-8"))) is None
    assert check_template(Templated("{{- bos_token -}}" + prompts.INSTRUCTION_TEMPLATE)) is None


def test_the_templates_of_the_verified_models_are_known(real_tokenizers):
    from dialsum_trl.chat_template import _known

    assert all(_known(tokenizer.chat_template) for tokenizer in real_tokenizers.values())
