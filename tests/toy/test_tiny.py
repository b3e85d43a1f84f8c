"""The embedded toys: data that regenerates itself, tokenizers true to their family, models that load."""

import itertools
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import dialsum_trl
from dialsum_trl.models.base import load_base
from dialsum_trl.prompts.prompt import INSTRUCTIONS, SYSTEM, prompt_messages
from dialsum_trl.prompts.templates import template_kwargs
from tests.row_files import read_rows
from toy.make_data import SCENES, sample_plays, write_samples
from toy.scene import play
from toy.tasks import conversation, tasks_for, word_list
from toy.words import COMMON_SYLLABLES, Word

TINY = Path(dialsum_trl.__file__).parent / "toy"
FAMILIES = ("llama", "qwen3")
FOLDERS = (*FAMILIES, "bart")
CHAT_TOKENS = {
    "llama": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen3": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
}


def rows(name: str) -> list[dict]:
    return read_rows(TINY / "data" / name)


def tokenizer(name: str):
    return AutoTokenizer.from_pretrained(TINY / name)


@pytest.mark.parametrize(
    ("word", "particle", "expected"),
    [
        ("가방", "을", "가방을"),
        ("모자", "을", "모자를"),
        ("지하철", "으로", "지하철로"),
        ("버스", "으로", "버스로"),
        ("공원", "으로", "공원으로"),
        ("#Person1#", "은", "#Person1#은"),
        ("#Person2#", "은", "#Person2#는"),
        ("#Person2#", "이", "#Person2#가"),
        ("지영", "아", "지영아"),
    ],
)
def test_particles_follow_the_last_sound_of_the_word(word, particle, expected):
    assert format(Word(word), particle) == expected


def test_the_shipped_csv_files_are_what_the_script_writes(tmp_path):
    write_samples(tmp_path)
    for name in ("train.csv", "dev.csv", "test.csv", "sample_submission.csv"):
        assert (tmp_path / name).read_bytes() == (TINY / "data" / name).read_bytes()


def test_no_dialogue_and_no_combination_of_facts_is_in_two_splits():
    splits = {name: [row["dialogue"] for row in rows(f"{name}.csv")] for name in ("train", "dev", "test")}
    dialogues = [dialogue for split in splits.values() for dialogue in split]
    keys = [p.key for plays in sample_plays().values() for p in plays]
    assert len(set(dialogues)) == len(dialogues)
    assert len(set(keys)) == len(keys)


def test_pretraining_never_sees_a_dev_or_test_dialogue_or_a_task_instruction():
    forbidden = {p.key for split, plays in sample_plays().items() if split != "train" for p in plays}
    held_out = {row["dialogue"] for name in ("dev.csv", "test.csv") for row in rows(name)}
    rng = Random(0)
    for _ in range(300):
        for message in conversation(rng, SCENES, forbidden):
            assert not any(instruction in message["content"] for instruction in INSTRUCTIONS)
            assert not any(dialogue in message["content"] for dialogue in held_out)


def test_every_template_fills_in_and_two_people_take_turns():
    rng = Random(1)
    for scene in SCENES:
        for _ in range(20):
            drawn = play(scene, rng)
            speakers = [speaker for speaker, _ in drawn.turns]
            assert speakers[0] == "#Person1#"
            assert all(a != b for a, b in itertools.pairwise(speakers))
            text = drawn.dialogue + "".join(drawn.summaries) + drawn.memo + "".join(sum(drawn.facts, ()))
            assert not set("{}|?:") & set("".join(drawn.summaries) + drawn.memo)
            assert "{" not in text


def test_summaries_name_facts_of_the_dialogue():
    rng = Random(2)
    for scene in SCENES:
        for _ in range(10):
            drawn = play(scene, rng)
            values = [value for value in drawn.key[2:] if value in drawn.dialogue]
            for summary in drawn.summaries:
                assert sum(value in summary for value in values) >= 2, (summary, values)


def test_the_test_split_has_three_different_references_and_a_submission_template():
    test = rows("test.csv")
    assert all(len({row["summary1"], row["summary2"], row["summary3"]}) == 3 for row in test)
    assert [row["fname"] for row in rows("sample_submission.csv")] == [row["fname"] for row in test]


@pytest.mark.parametrize("name", FOLDERS)
def test_tokenizers_give_korean_masks_and_emoji_back_unchanged(name):
    tok = tokenizer(name)
    texts = [row["dialogue"] + row["summary"] for row in rows("dev.csv")]
    for text in [*texts, "뷁, 꿹! 🙂 ABC 123,456\n\n#Person7#의 #Email#"]:
        assert tok.decode(tok(text, add_special_tokens=False).input_ids) == text


@pytest.mark.parametrize("name", FOLDERS)
def test_every_token_of_the_toy_s_texts_is_whole_characters(name):
    tok = tokenizer(name)
    broken = {token for token in range(len(tok)) if "\N{REPLACEMENT CHARACTER}" in tok.decode([token])}
    texts = [text for split in ("train.csv", "dev.csv", "test.csv") for row in rows(split) for text in row.values()]
    texts += [
        text for plays in sample_plays().values() for drawn in plays for text in sum(tasks_for(Random(3), drawn), ())
    ]
    texts += [SYSTEM, *INSTRUCTIONS, "".join(COMMON_SYLLABLES)]
    for text in texts:
        assert not broken.intersection(tok(text, add_special_tokens=False).input_ids), text


@pytest.mark.parametrize("name", FAMILIES)
def test_pretraining_shows_every_token_that_summaries_are_written_with(name):
    tok = tokenizer(name)

    def tokens(texts):
        return Counter(token for ids in tok(texts, add_special_tokens=False).input_ids for token in ids)

    rng = Random(4)
    shown = [message["content"] for _ in range(300) for message in conversation(rng, SCENES, set())]
    shown += [text for _ in range(8000) for text in word_list(rng, SCENES)]
    seen = tokens(shown)
    written = tokens([row["summary"] for row in rows("train.csv")])
    assert not [tok.decode([token]) for token, count in written.items() if count > 1 and not seen[token]]


@pytest.mark.parametrize("name", FAMILIES)
def test_chat_tokens_are_single_ids_and_the_pad_token_ends_nothing(name):
    tok = tokenizer(name)
    for token in CHAT_TOKENS[name]:
        assert tok(token, add_special_tokens=False).input_ids == [tok.convert_tokens_to_ids(token)]
    assert tok.pad_token_id is not None
    assert tok.pad_token_id != tok.eos_token_id


def test_llama_adds_one_bos_and_qwen_adds_nothing():
    llama, qwen = tokenizer("llama"), tokenizer("qwen3")
    assert llama("안녕").input_ids[0] == llama.bos_token_id
    assert llama("안녕").input_ids.count(llama.bos_token_id) == 1
    assert qwen.decode(qwen("안녕").input_ids) == "안녕"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_native_templates_render_a_prompt(name):
    tok = tokenizer(name)
    text = tok.apply_chat_template(
        prompt_messages("#Person1#: 안녕"), tokenize=False, add_generation_prompt=True, **template_kwargs(tok)
    )
    assert INSTRUCTIONS[0] in text
    ending = {"llama": "assistant<|end_header_id|>\n\n", "qwen3": "<|im_start|>assistant\n"}[name]
    assert text.endswith(ending)


@pytest.mark.parametrize("name", FAMILIES)
def test_models_load_from_safetensors_with_grouped_query_attention_and_both_stop_tokens(name):
    model = AutoModelForCausalLM.from_pretrained(TINY / name, use_safetensors=True)
    config = model.config
    assert config.num_key_value_heads < config.num_attention_heads
    assert config.hidden_size % 64 == 0
    assert config.max_position_embeddings >= 2048
    assert config.vocab_size == len(tokenizer(name))
    assert len(model.generation_config.eos_token_id) == 2
    assert model.dtype == torch.float32


def test_bart_loads_from_safetensors_and_reads_1024_tokens():
    model = AutoModelForSeq2SeqLM.from_pretrained(TINY / "bart", use_safetensors=True)
    assert model.config.vocab_size == len(tokenizer("bart"))
    assert model.config.max_position_embeddings >= 1024
    assert model.dtype == torch.float32


@pytest.mark.parametrize("name", FAMILIES)
def test_4_bit_loading_gives_nearly_the_same_predictions(name):
    ids = torch.tensor([tokenizer(name)(rows("dev.csv")[0]["dialogue"]).input_ids])
    with torch.no_grad():
        plain, rounded = (
            load_base(str(TINY / name), dtype="float32", quantization=q)(input_ids=ids).logits.log_softmax(-1)
            for q in ("none", "4bit")
        )
    assert (plain.exp() * (plain - rounded)).sum(-1).mean() < 0.02  # KL, nats a token


@pytest.mark.parametrize("name", FOLDERS)
def test_toy_folders_stay_small(name):
    assert sum(path.stat().st_size for path in (TINY / name).iterdir()) < 5_000_000
    assert sum(path.stat().st_size for path in (TINY / "data").iterdir()) < 500_000
