"""Every chat template that installed packages bring, with a real vocabulary: prompt, mask, stop tokens, pinned day."""

import copy
import re
from pathlib import Path

import pytest
import trl

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.prompt_texts import SYSTEM
from dialsum_trl.models.families.exaone import EXAONE_CHAT
from dialsum_trl.models.families.registry import FAMILIES, chat_of
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import apply_template, encode_prompt, encode_row, prompt_messages
from dialsum_trl.prompts.templates import read_template
from dialsum_trl.prompts.tokenizer import check_template, load_tokenizer
from dialsum_trl.stages.sft import train_sft
from tests.conftest import TINY
from tests.phase3_toys import flags
from tests.row_files import sample

FOLDER = Path(trl.__file__).parent / "chat_templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
CONTROL = re.compile(r"<[|｜][^<>{}'\"\s]+[|｜]>|<[a-z_]*(?:bos|eos|turn|s)>|</s>|\[/?INST\]|<[a-z_|]*turn[a-z_|]*>")
DIALOGUE, SUMMARY = "#Person1#: 몇 시에 볼까요?\n#Person2#: 세 시요.", "#Person1#과 #Person2#는 세 시에 만난다."
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SILENT = NO_SYSTEM.replace("{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}", "").replace(
    "messages %}", "messages if m.role != 'system' %}", 1
)
NO_END = (
    "{% for m in messages %}{% if m.role == 'assistant' %}### Assistant:\n{{ m.content }}\n\n{% else %}"
    "### {{ m.role }}:\n{{ m.content }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)


# Formats of families whose templates no installed package has, as their makers describe them
DESCRIBED = {
    "EXAONE": "{% for m in messages %}[|{{ m.role }}|]\n{{ m.content }}[|endofturn|]\n{% endfor %}"
    "{% if add_generation_prompt %}[|assistant|]\n{% endif %}",
    "Mistral": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}</s>"
    "{% else %}{{ raise_exception('no system') }}{% endif %}{% endfor %}",
}
PREFIX, OTHER, PARTS = "is no prefix of it", "where the summary .* begins", "str object|where the summary .* begins"
REFUSED = {  # each in one line that says why
    **dict.fromkeys(("deepseek_r1_distill", "deepseekv3"), PREFIX),  # a block of thoughts is opened in the prompt alone
    **dict.fromkeys(("glm4moe", "nemotron_3_5_lightning", "nemotron_3_nano"), PREFIX),
    **dict.fromkeys(("nemotron_3_super", "nemotron_3_ultra"), PREFIX),
    **dict.fromkeys(("gptoss", "muse_glimmer"), OTHER),  # a channel or a receiver is named before the answer
    **dict.fromkeys(("idefics3", "llava_next", "smolvlm"), PARTS),  # contents are lists of parts
}


@pytest.fixture(scope="module")
def tokenizer(real_tokenizers):
    """Qwen's real vocabulary with the control tokens of every template, each one token."""
    fast = copy.deepcopy(real_tokenizers["qwen2_5"])
    texts = "".join((FOLDER / f"{name}.jinja").read_text(encoding="utf-8") for name in NAMES)
    found = {"<bos>", "<eos>", *CONTROL.findall(texts), "[INST]", "[/INST]", "</s>", *EXAONE_CHAT.tokens}
    fast.add_special_tokens({"additional_special_tokens": sorted(found), "bos_token": "<bos>"})
    return fast


def with_template(tokenizer, template: str):
    other = copy.copy(tokenizer)
    other.chat_template = template
    check_template(other)
    return other


def learned(row) -> list[int]:
    return [label for label in row["labels"] if label != -100]


def encode(tokenizer):
    return encode_row(tokenizer, DIALOGUE, SUMMARY, stop_token_ids(tokenizer))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_learned_is_the_summary_and_one_end_after_the_prompt_of_inference(tokenizer, name):
    try:
        native = with_template(tokenizer, (FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
        row, fitted = encode(native)
    except InputError as error:
        assert re.search(REFUSED[name.removesuffix("_training")], str(error)) and "\n" not in str(error)
        return
    assert name.removesuffix("_training") not in REFUSED
    ids = learned(row)
    assert native.decode(ids[:-1]).strip() == SUMMARY and ids[-1] in stop_token_ids(native)
    assert fitted.prompt_ids == encode_prompt(native, DIALOGUE) == row["input_ids"][: -len(ids)]
    prompt = native.decode(fitted.prompt_ids)
    if chat := chat_of(native.chat_template):
        assert (chat.turn_end in prompt[prompt.index(SYSTEM) : prompt.index(DIALOGUE)]) == chat.system
    assert prompt.count(SYSTEM) == 1 and prompt.count(DIALOGUE) == 1
    assert not re.search(r"20(2[5-9]|[3-9]\d)", prompt)  # today's date


@pytest.mark.parametrize(("family", "template"), DESCRIBED.items())
def test_a_described_format_is_told_and_learned_up_to_its_end_of_turn(tokenizer, family, template):
    native = with_template(tokenizer, template)
    row, fitted = encode(native)
    chat = chat_of(template)
    assert chat is next(found.chat for found in FAMILIES if found.name == family)
    assert native.decode(learned(row)).strip() == SUMMARY + chat.turn_end
    prompt = native.decode(fitted.prompt_ids)
    assert (chat.turn_end in prompt[prompt.index(SYSTEM) : prompt.index(DIALOGUE)]) == chat.system
    assert fitted.prompt_ids == encode_prompt(native, DIALOGUE)


@pytest.mark.parametrize("template", [NO_SYSTEM, SILENT], ids=["raises", "leaves it out"])
def test_without_a_system_role_the_system_text_opens_the_first_user_turn(tokenizer, template):
    folded = with_template(tokenizer, template)
    row, fitted = encode(folded)
    prompt = folded.decode(fitted.prompt_ids)
    assert f"<|im_start|>user\n{SYSTEM}\n\n다음 대화를 요약해주세요.\n\n{DIALOGUE}<|im_end|>" in prompt
    assert folded.decode(learned(row)) == SUMMARY + "<|im_end|>"
    turns, text = apply_template(folded, prompt_messages(DIALOGUE), generation=True)
    assert [turn["role"] for turn in turns] == ["user"] and text == prompt
    assert apply_template(folded, turns, generation=True) == (turns, text)  # as online trainers render them


def test_without_an_end_of_turn_eos_is_learned_right_after_the_summary(tokenizer):
    endless = with_template(tokenizer, NO_END)
    row, _ = encode(endless)
    assert endless.decode(learned(row)) == SUMMARY + endless.eos_token
    assert learned(row)[-1] == stop_token_ids(endless)[0] == endless.eos_token_id


def test_a_template_may_be_given_as_a_file_or_a_folder(tmp_path):
    (tmp_path / "chat_template.jinja").write_text(NO_SYSTEM, encoding="utf-8")
    assert read_template(str(tmp_path)) == read_template(str(tmp_path / "chat_template.jinja")) == NO_SYSTEM
    given = load_tokenizer(str(TINY / "qwen3"), chat_template_path=str(tmp_path))
    assert given.chat_template == NO_SYSTEM


@pytest.mark.parametrize(("path", "message"), [("nothing.jinja", "cannot be read"), ("cp949.jinja", "UTF-8")])
def test_a_template_that_cannot_be_read_is_one_line(tmp_path, path, message):
    (tmp_path / "cp949.jinja").write_bytes("요약".encode("cp949"))
    with pytest.raises(InputError, match=rf"--chat_template_path .*{message}"):
        load_tokenizer(str(TINY / "qwen3"), chat_template_path=str(tmp_path / path))


def test_a_template_and_the_instruction_format_exclude_one_another(tmp_path):
    with pytest.raises(InputError, match="exclude one another"):
        load_tokenizer(str(TINY / "qwen3"), prompt_style="instruction", chat_template_path=str(tmp_path))


def test_a_template_that_is_given_is_trained_with_saved_and_asked_with(tmp_path):
    base = str(TINY / "llama")
    other = (TINY / "llama" / "chat_template.jinja").read_text(encoding="utf-8").replace("Cutting", "Pinned")
    (tmp_path / "other.jinja").write_text(other, encoding="utf-8")
    given = {"model_name_or_path": base, "train_file": sample(tmp_path, train=4) / "train.csv", "max_steps": 1}
    given |= {"output_dir": tmp_path / "out", "dtype": "float32", "quantization": "none", "use_cpu": "true"}
    given |= {"effective_batch_size": 2, "per_device_train_batch_size": 2, "rouge_rows": 0, "eval_strategy": "no"}
    given |= {"load_best_model_at_end": "false", "optim": "adamw_torch", "fast": "false", "warmup_steps": 0}
    losses = []
    for path in (None, tmp_path / "other.jinja"):
        more = (
            {"chat_template_path": path, "output_dir": tmp_path / "out"} if path else {"output_dir": tmp_path / "own"}
        )
        losses.append(train_sft({}, flags(given | more))["train loss"])
    assert losses[0] != losses[1]
    tokenizer = load_tokenizer(base, adapter_path=str(tmp_path / "out"))
    assert tokenizer.chat_template == other
    assert "Pinned" in tokenizer.decode(encode_prompt(tokenizer, DIALOGUE))
