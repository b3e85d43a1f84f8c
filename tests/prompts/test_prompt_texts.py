"""System text and instructions by flags: what is asked, what the record holds, and who follows it."""

import json

import pytest

from dialsum_trl.cli.chat import named_again
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import PromptArguments
from dialsum_trl.core.settings.prompt_texts import ENGLISH_INSTRUCTIONS, INSTRUCTIONS, SPEECH_RULES, SYSTEM
from dialsum_trl.data.speech import RULES, clean_speech
from dialsum_trl.generation.summarizer import load_summarizer
from dialsum_trl.models.adapter_settings import adapter_settings, use_adapter_settings
from dialsum_trl.prompts.prompt import (
    PromptTexts,
    check_fields,
    encode_prompt,
    prompt_messages,
    prompt_texts,
    set_prompt_texts,
)
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.sharing.card import model_card
from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.sft import train_sft
from tests.conftest import TINY
from tests.row_files import message, row, sample, write_csv

DIALOGUE = "민수: 안녕\n지은 씨: 네, 안녕하세요\n민수: {topic}"
BASELINE = "[Conversation]\\n{dialogue}\\n\\n[Question]\\n위 {topic} 주제에 대한 {speakers}의 대화를 요약해주세요."


def test_without_flags_the_prompt_is_what_it_was():
    prompt = PromptArguments()
    texts = PromptTexts(prompt.system_prompt, tuple(prompt.instruction))
    assert texts == PromptTexts() and texts.instructions == INSTRUCTIONS
    assert texts.messages("a: b") == prompt_messages("a: b") == [
        {"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{INSTRUCTIONS[0]}\n\na: b"},
    ]  # fmt: skip


def test_placeholders_are_filled_from_the_row_and_nothing_in_the_row_is():
    prompt = PromptArguments(instruction=[BASELINE], system_prompt="A.\\nB.")
    system, user = PromptTexts(prompt.system_prompt, tuple(prompt.instruction)).messages(DIALOGUE, topic="인사, 날씨")
    assert system["content"] == "A.\nB."
    assert user["content"] == (
        f"[Conversation]\n{DIALOGUE}\n\n[Question]\n위 인사, 날씨 주제에 대한 민수, 지은 씨의 대화를 요약해주세요."
    )


def test_a_topic_that_a_row_lacks_is_one_line():
    with pytest.raises(InputError, match="the row has none: name its column"):
        PromptTexts(instructions=("{topic}?",)).messages(DIALOGUE)


def test_english_is_asked_for_in_english():
    prompt = PromptArguments(prompt_language="en")
    assert tuple(prompt.instruction) == ENGLISH_INSTRUCTIONS and "summarizing dialogues" in prompt.system_prompt


def test_instructions_are_read_from_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeff하나\\n둘\n\n셋\n", encoding="utf-8")
    assert PromptArguments(instructions_file=str(tmp_path / "a.txt")).instruction == ["하나\n둘", "셋"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"instruction": ["a"], "instructions_file": "b"}, "exclude each other"),
        ({"instructions_file": "/nowhere.txt"}, "--instructions_file /nowhere.txt: cannot be read"),
        ({"instruction": [" "]}, "--instruction is empty"),
        ({"instruction": ["a"], "instructions": "all"}, "--instructions all: there is one"),
        ({"instruction": ["{dialogue}"], "prompt_style": "instruction"}, "without {dialogue}"),
    ],
)
def test_texts_that_do_not_go_together_are_refused(flags, says):
    with pytest.raises(InputError, match=says):
        PromptArguments(**flags)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An adapter trained with texts of its own for a step."""
    folder = tmp_path_factory.mktemp("texts")
    settings = dict(
        model_name_or_path=str(TINY / "llama"), dtype="float32", quantization="none", use_cpu=True, rouge_rows=0,
        train_file=str(sample(folder, train=4) / "train.csv"), output_dir=str(folder / "run"), max_steps=1,
        effective_batch_size=4, per_device_train_batch_size=4, report_to="none", fast=False,
    )  # fmt: skip
    train_sft(settings, ["--system_prompt", "You summarize.", "--instruction", "First {topic}?", "Second?"])
    return folder / "run"


def test_the_record_holds_them_and_predict_follows(trained, tmp_path):
    record = json.loads((trained / "dialsum.json").read_text("utf-8"))
    assert (record["system_prompt"], record["instruction"]) == ("You summarize.", ["First {topic}?", "Second?"])
    asked = prompt_texts(load_summarizer(adapter_path=str(trained)).tokenizer)
    assert asked == PromptTexts("You summarize.", ("First {topic}?", "Second?"))
    flags = ["--adapter_path", str(trained), "--use_cpu", "true", "--max_new_tokens", "2", "--num_beams", "1"]
    rows = write_csv(tmp_path / "a.csv", [("a", "민수: 안녕", "")], ("fname", "dialogue", "topic"))
    flags += ["--test_file", str(rows), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(InputError, match=r"has \{topic\}"):
        predict({}, flags)
    assert len(predict({}, [*flags, "--instruction", "요약하세요."])["summaries"]) == 1


def test_a_text_that_is_given_goes_before_the_adapters(trained):
    found = adapter_settings(str(trained))
    assert found["instruction"] == ["First {topic}?", "Second?"]
    start = {
        "adapter_path": str(trained),
        "model_name_or_path": None,
        "model_revision": "main",
        "prompt_style": "native",
    }
    for given, kept in (({}, True), ({"prompt_language": "en"}, False), ({"instructions_file": "a"}, False)):
        values = {**start, "system_prompt": None, "instruction": [], **given}
        use_adapter_settings(values, set(given))
        assert (values["instruction"] == ["First {topic}?", "Second?"]) == kept


def test_the_card_asks_with_them(trained):
    record = json.loads((trained / "dialsum.json").read_text("utf-8"))
    adapter = json.loads((trained / "adapter_config.json").read_text("utf-8"))
    card = model_card({**record, "base_model": "me/base", "instruction": ["A\n{dialogue}"]}, "me/x", adapter)
    assert '"content": "You summarize."' in card and '"A\\n{dialogue}".replace("{dialogue}", dialogue)' in card


def test_a_tokenizer_without_texts_asks_as_before():
    tokenizer = load_tokenizer(str(TINY / "llama"))
    before = encode_prompt(tokenizer, "a: b")
    set_prompt_texts(tokenizer, None, None)
    assert encode_prompt(tokenizer, "a: b") == before
    set_prompt_texts(tokenizer, "S", ["I"])
    assert encode_prompt(tokenizer, "a: b") != before


TALK = "SD2000005: SD2000001씨~ 어~ 저는 저는 갔어요\nSD2000001: 어~\n민수: SD20000011이 xx 왔네 왔네"


def test_speakers_that_are_ids_are_numbered_where_they_speak_and_in_summaries_and_back():
    texts = PromptTexts(speakers="numbered")
    asked = texts.asked(TALK)
    assert asked.split("\n")[0].startswith("화자1: 화자2씨~") and asked.endswith("민수: SD20000011이 xx 왔네 왔네")
    assert texts.asked(asked) == asked
    summary = "SD2000001은 SD2000005에게 답했고 민수가 왔다."
    assert texts.target(TALK, summary) == "화자2은 화자1에게 답했고 민수가 왔다."
    assert texts.with_ids(TALK, texts.target(TALK, summary)) == summary


@pytest.mark.parametrize("flags", [["--instruction", "a"], ["--speech_rules", "fillers"], ["--speakers", "numbered"]])
def test_an_encoder_decoder_refuses_a_prompt(flags, tmp_path):
    argv = ["--model_name_or_path", str(TINY / "bart"), "--test_file", str(TINY / "data" / "dev.csv"), *flags]
    said = message(predict, {}, [*argv, "--output_dir", str(tmp_path / "out")])
    assert said.startswith(flags[0]) and "is an encoder-decoder, which reads the dialogue and no prompt" in said


def test_numbered_speakers_get_their_ids_back_in_a_stream_whose_pieces_cut_them():
    texts, whole = PromptTexts(speakers="numbered"), "화자2은 화자1에게 답했고, 민수가 화를 냈다. 화"
    for size in (1, 2, 3, 50):
        pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
        assert "".join(named_again(pieces, texts, TALK)) == texts.with_ids(TALK, whole)
    assert list(named_again(["화", "자1"], PromptTexts(), TALK)) == ["화", "자1", ""]


def test_a_field_that_a_row_cannot_fill_is_one_line_with_the_row():
    rows = [row("r1", topic="여행"), row("r2", "#Person1# 안녕", topic="인사"), row("r3")]
    check_fields(PromptArguments(instruction=["요약하세요. {x}"]), rows, "dev.csv")
    check_fields(PromptArguments(instruction=["{topic} {speakers}"]), rows[:1], "dev.csv")
    said = message(check_fields, PromptArguments(instruction=["{speakers}"]), rows, "dev.csv")
    assert said.startswith("dev.csv: row r2: the prompt has {speakers}, and no line of the dialogue begins with a name")
    said = message(check_fields, PromptArguments(system_prompt="{topic}"), rows, "dev.csv")
    assert said.startswith("dev.csv: row r3: the prompt has {topic}, and the row has none: name its column")


def test_speakers_are_prefixed_as_the_official_baseline_of_nikl_does():
    texts = PromptTexts(speakers="prefixed")
    assert [line.split(":")[0] for line in texts.asked(TALK).split("\n")] == [
        "화자SD2000005",
        "화자SD2000001",
        "민수",
    ]
    assert texts.target(TALK, "SD2000001은") == texts.with_ids(TALK, "SD2000001은") == "SD2000001은"


def test_speech_rules_take_what_they_name_and_leave_no_turn_empty():
    assert set(RULES) == set(SPEECH_RULES)
    assert clean_speech(TALK, ()) == TALK
    assert clean_speech(TALK, ("fillers", "repeats", "unheard")) == (
        "SD2000005: SD2000001씨~ 저는 갔어요\nSD2000001: 어~\n민수: SD20000011이 왔네"
    )
    with pytest.raises(InputError, match="--speech_rules laughs: must be fillers, repeats, unheard or none"):
        PromptArguments(speech_rules=["laughs"])
