"""Train the toy byte-level BPE tokenizers and save them with the families' special tokens and native chat templates.

    python -m toy.make_tokenizers [folder]

The first merges make every character of the scenes, and the commonest other syllables, one token; the merges learned
after them join whole characters. So only rarer characters are cut into bytes.

BPE learns from Mecab morphemes, so a noun and its particle stay apart (`지영|은`) and a name is the same tokens
wherever it stands, which a model this small needs to copy it. The tokenizers themselves need no Mecab.
"""

import json
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dialsum_trl.core.settings.prompt_texts import INSTRUCTIONS, SYSTEM
from dialsum_trl.metrics.tokens import TOKENIZERS
from dialsum_trl.prompts.templates import PINNED_DATE
from toy import FOLDER
from toy.make_data import SCENES, SEED
from toy.scene import play
from toy.tasks import COPY, SYSTEMS, tasks_for
from toy.words import COMMON_SYLLABLES, SYLLABLES

VOCAB_SIZE = 2560
# How the real tokenizers cut text before BPE; Llama 3 groups digits by three, Qwen takes them one by one.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DIGITS = {"llama": r"\p{N}{1,3}", "qwen3": r"\p{N}", "bart": r"\p{N}"}
SPECIAL_TOKENS = {
    "llama": [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
        "<|finetune_right_pad_id|>",
        "<|reserved_special_token_2|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
        "<|reserved_special_token_3|>",
    ],
    "qwen3": [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|object_ref_start|>",
        "<|object_ref_end|>",
        "<|box_start|>",
        "<|box_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|fim_pad|>",
    ],
    "bart": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
}
NAMED_TOKENS = {
    "llama": dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", pad_token="<|finetune_right_pad_id|>"),
    "qwen3": dict(eos_token="<|im_end|>", pad_token="<|endoftext|>"),
    "bart": dict(bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>", mask_token="<mask>"),
}
# What the real tokenizers put around a text.
WRAPPED = {
    "llama": ("<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|> $B:1"),
    "bart": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
}
TEMPLATES = {"llama": "llama3_2.jinja", "qwen3": "qwen3_instruct_2507.jinja"}


def corpus(rng: Random, plays: int = 3000) -> Iterator[str]:
    """Texts with the words that the models will meet."""
    header = f"system\n\nCutting Knowledge Date: December 2023\nToday Date: {PINNED_DATE}\n\nuser\n\nassistant\n"
    for _ in range(600):  # often enough for every word of the templates to become one token
        yield header
    for _ in range(30):
        yield from (SYSTEM, *INSTRUCTIONS, *SYSTEMS, COPY, *SYLLABLES, *(f" {s}" for s in SYLLABLES))
    for number in range(plays):
        drawn = play(SCENES[number % len(SCENES)], rng)
        yield drawn.dialogue
        yield rng.choice(drawn.summaries)
        for ask, answer in tasks_for(rng, drawn):
            yield ask
            yield answer


def pieces(text: str, morphs) -> Iterator[str]:
    """Cut `text` at spaces, and Korean words at morphemes; a piece keeps the space before it."""
    for word in re.findall(r" ?[가-힣]+| ?[^가-힣\s]+[가-힣]?|\s+", text):
        korean = word.lstrip(" ")
        if not re.fullmatch("[가-힣]+", korean):
            yield word
            continue
        first, *rest = morphs(korean)
        yield word[: len(word) - len(korean)] + first
        yield from rest


def learned_merges(cut, texts: list[str], characters: list[str], count: int) -> list[tuple[str, str]]:
    """`count` merges of BPE over whole characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cut
    size = len(characters) + count
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=characters, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]["merges"]


def train_tokenizer(name: str, texts: list[str]) -> Tokenizer:
    """A tokenizer of `VOCAB_SIZE` ids, special tokens last, with the family's post-processor."""
    special = SPECIAL_TOKENS[name]
    cut = pre_tokenizers.Split(Regex(SPLIT % DIGITS[name]), behavior="isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def in_bytes(text: str) -> str:
        return level.pre_tokenize_str(text)[0][0]

    characters = sorted({*"".join(texts), *COMMON_SYLLABLES})
    merges = {}  # as keys, for their order
    for character in map(in_bytes, characters):
        merges |= {(character[:end], character[end]): None for end in range(1, len(character))}
    free = VOCAB_SIZE - len(special) - len(level.alphabet()) - len(merges)
    merges |= {(in_bytes(a), in_bytes(b)): None for a, b in learned_merges(cut, texts, characters, free)}
    tokens = [*sorted(level.alphabet()), *(a + b for a, b in merges)]

    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, level])
    tokenizer.decoder = decoders.ByteLevel()
    if name == "qwen3":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(special)
    if name in WRAPPED:
        single, pair = WRAPPED[name]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, pair=pair, special_tokens=[(t, tokenizer.token_to_id(t)) for t in special if t in pair]
        )
    return tokenizer


def save_tokenizers(folder: Path) -> None:
    """Train and save the tokenizers into `folder/llama`, `folder/qwen3` and `folder/bart`."""
    morphs = TOKENIZERS["mecab"].load(False)
    texts = [piece for text in corpus(Random(SEED + 2)) for piece in pieces(text, morphs)]
    for name in SPECIAL_TOKENS:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=train_tokenizer(name, texts),
            additional_special_tokens=[t for t in SPECIAL_TOKENS[name] if t not in NAMED_TOKENS[name].values()],
            clean_up_tokenization_spaces=False,
            model_max_length=2048,
            **NAMED_TOKENS[name],
        )
        if name in TEMPLATES:
            template = files("trl") / "chat_templates" / TEMPLATES[name]
            tokenizer.chat_template = template.read_text(encoding="utf-8")
        tokenizer.save_pretrained(folder / name)


if __name__ == "__main__":
    save_tokenizers(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
