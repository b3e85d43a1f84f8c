"""One form of tokenizer for BART, T5 and mBART.

transformers rebuilds a T5 or mBART tokenizer from its class each time it is loaded. Here it becomes a plain fast
tokenizer whose `tokenizer.json` says everything, the language included, so that the saved folder reads and writes as
training did.
"""

import json

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError

PROBE = "#Person1#은 #Person2#에게 #PhoneNumber#로 전화한다."


def plain_tokenizer(tokenizer: PreTrainedTokenizerBase, language: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer as its backend alone, reading and writing `language` where the model has several."""
    name = tokenizer.name_or_path
    if language:
        if language not in tokenizer.get_vocab():
            raise InputError(f"--language {language}: the vocabulary of {name} has no such code")
        tokenizer.src_lang = tokenizer.tgt_lang = language
    elif codes := language_codes(tokenizer):
        raise InputError(f"{name} has languages and would read {' '.join(codes)}: give --language ko_KR")
    if not tokenizer.is_fast:  # ByT5: bytes, nothing to rebuild
        return tokenizer
    plain = PreTrainedTokenizerFast(
        tokenizer_object=_prefix_first_word_only(tokenizer.backend_tokenizer),
        extra_special_tokens=list(tokenizer.extra_special_tokens),
        model_input_names=["input_ids", "attention_mask"],
        **tokenizer.special_tokens_map,
    )
    plain.name_or_path = name
    return plain


def language_codes(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The special tokens that a text is given beside its start and its end: mBART's language."""
    usual = {tokenizer.bos_token, tokenizer.cls_token, tokenizer.eos_token, tokenizer.sep_token}
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("").input_ids)
    return [token for token in tokens if token not in usual]


def _prefix_first_word_only(backend: Tokenizer) -> Tokenizer:
    """SentencePiece's word prefix (the space before a word) at the start of a text, no longer after every added token.

    With it `#Person1#은` reads as `#Person1# 은`, and nothing that the model writes can come out without the space.
    Texts without added tokens keep their ids.
    """
    spec = json.loads(backend.to_str())
    before = spec["pre_tokenizer"] or {}
    steps = before["pretokenizers"] if before.get("type") == "Sequence" else [before]
    words = [step for step in steps if step.get("type") == "Metaspace" and step["prepend_scheme"] == "always"]
    if not words:
        return backend
    words[0]["prepend_scheme"] = "first"
    if any(step["type"] == "WhitespaceSplit" for step in steps):  # it drops the space before an added token
        one_space = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
        spec["normalizer"] = {
            "type": "Sequence",
            "normalizers": [*([spec["normalizer"]] if spec["normalizer"] else []), one_space],
        }
        steps = [step for step in steps if step["type"] != "WhitespaceSplit"]
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    return Tokenizer.from_str(json.dumps(spec))


def check_round_trip(tokenizer: PreTrainedTokenizerBase) -> None:
    """Says so when the tokenizer cannot write masks as the references do."""
    written = tokenizer.decode(tokenizer(PROBE).input_ids, skip_special_tokens=True)
    if written != PROBE:
        say(f"{tokenizer.name_or_path}: its tokenizer turns {PROBE!r} into {written!r}; see --mask_tokens none")
