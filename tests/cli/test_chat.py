"""`dialsum summarize` and `dialsum chat`: what is streamed is the greedy summary of the prompt that training uses."""

import io
import sys
from pathlib import Path

import pytest

from dialsum_trl.cli import chat
from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.summaries import summarize

DIALOGUE = "#Person1#: 내일 회의는 몇 시인가요?\n#Person2#: 오후 세 시입니다.\n"


@pytest.fixture(scope="module")
def summarizer(trained_adapter):
    return chat.load(str(trained_adapter), None, None)


def test_the_stream_is_the_greedy_summary(summarizer):
    [expected] = summarize(summarizer, [DIALOGUE.strip()], GenerationSettings(num_beams=1, max_new_tokens=12), False)
    assert "".join(chat.stream(summarizer, DIALOGUE, 12)).strip() == expected.text


def test_the_models_own_penalties_do_not_reach_the_stream(trained_adapter):
    other = chat.load(str(trained_adapter), None, None)
    expected = list(chat.stream(other, DIALOGUE, 12))
    other.model.generation_config.update(repetition_penalty=5.0, no_repeat_ngram_size=1)
    assert list(chat.stream(other, DIALOGUE, 12)) == expected
    assert other.model.generation_config.repetition_penalty == 5.0


def test_a_pasted_dialogue_is_cleaned_as_in_training(summarizer):
    dirty = DIALOGUE.replace("\n", "<br>").replace(" ", "  ")
    assert list(chat.stream(summarizer, dirty, 6)) == list(chat.stream(summarizer, DIALOGUE, 6))


def test_a_failure_while_generating_reaches_the_reader(summarizer, monkeypatch):
    def broken(**_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(summarizer.model, "generate", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(chat.stream(summarizer, DIALOGUE, 6))


def test_an_empty_dialogue_is_one_clear_line(summarizer):
    with pytest.raises(InputError, match="the dialogue is empty"):
        list(chat.stream(summarizer, " \n ", 6))


def test_dialogues_end_with_an_empty_line_or_the_input():
    assert list(chat.dialogues(["a\n", "b\n", "\n", "\n", "c\n"])) == ["a\nb\n", "c\n"]


def type_in(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_what_is_no_dialogue_does_not_end_a_chat(trained_adapter, monkeypatch, capsys):
    type_in(monkeypatch, f"\u200b\n\n{DIALOGUE}".encode())
    chat.converse(str(trained_adapter), None, None, 6)
    printed = capsys.readouterr()
    assert "error: the dialogue is empty" in printed.err and printed.out.strip()


def test_standard_input_in_another_encoding_is_one_clear_line(monkeypatch):
    type_in(monkeypatch, "#Person1#: 안녕".encode("cp949"))
    with pytest.raises(InputError, match="standard input: is not UTF-8; convert it: iconv"):
        chat.read_dialogue(Path("-"))


def test_a_dialogue_that_cleaning_empties_is_never_summarized(tmp_path):
    (tmp_path / "d.txt").write_text("\u200b", encoding="utf-8")
    for beams in (1, 2):
        with pytest.raises(InputError, match="holds no dialogue"):
            chat.summarize_file(tmp_path / "d.txt", "nowhere", None, None, beams, 6)


def test_chat_prints_a_summary_for_each_dialogue(trained_adapter, monkeypatch, capsys):
    type_in(monkeypatch, f"{DIALOGUE}\n\n{DIALOGUE}".encode())
    chat.converse(str(trained_adapter), None, None, 6)
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert first == second != ""


def test_a_file_is_summarized_with_beams_or_streamed(trained_adapter, tmp_path, capsys):
    file = tmp_path / "dialogue.txt"
    file.write_text(DIALOGUE, encoding="utf-8-sig")
    for beams in (1, 2):
        chat.summarize_file(file, str(trained_adapter), None, None, beams, 6)
    assert len(capsys.readouterr().out.strip().splitlines()) == 2


def test_the_base_comes_from_the_adapter_and_a_named_one_goes_before_it(trained_adapter, toy_base):
    own = chat.load(str(trained_adapter), None, None)
    assert own.model.config.name_or_path == str(toy_base)
    with pytest.raises(InputError, match="elsewhere"):
        chat.load(str(trained_adapter), "elsewhere", None)


@pytest.mark.parametrize("name", ["dev.csv", "dev.JSONL"])
def test_a_table_is_no_dialogue_and_predict_is_named(tmp_path, name):
    (tmp_path / name).write_text(f"fname,dialogue\na,{DIALOGUE}", encoding="utf-8")
    with pytest.raises(InputError, match=r"is a table, .*recipes/predict\.py --test_file .*dev\."):
        chat.summarize_file(tmp_path / name, "nowhere", None, None, 1, 6)


def test_a_quantization_that_is_none_is_one_line_with_the_choices():
    with pytest.raises(InputError, match="--quantization 3bit: must be 4bit, 8bit, none"):
        chat.load("nowhere", None, "3bit")


def test_an_adapter_that_is_nowhere_is_one_clear_line():
    with pytest.raises(InputError, match="no such folder, and the Hub does not give it"):
        chat.load("acme/not-there", None, None)


def test_the_page_without_gradio_says_what_to_install(monkeypatch):
    monkeypatch.setattr(chat, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"dialsum-trl\[ui\]"):
        chat.open_page("anything", None, None, 10, 7860)
