"""Lengths in a model's tokens."""

from dialsum_trl.data.lengths import CHARACTERS, Measure
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import encode_completion, encode_prompt, prompt_messages
from dialsum_trl.prompts.tokenizer import load_tokenizer


def measure(tokenizer_name: str | None) -> Measure:
    """Tokens as in training (template and end of turn included), or characters when no tokenizer is named.

    The frame of the template is counted once and added to each text: tokens that merge across its edge can make a
    length differ by one.
    """
    if tokenizer_name is None:
        return CHARACTERS
    tokenizer = load_tokenizer(tokenizer_name)
    ids, turns = encode_prompt(tokenizer, ""), [*prompt_messages(""), {"role": "assistant", "content": ""}]
    frame, ending = len(ids), len(encode_completion(tokenizer, ids, turns, stop_token_ids(tokenizer)))

    def count(texts: list[str], extra: int) -> list[int]:
        return [len(ids) + extra for ids in tokenizer(texts, add_special_tokens=False).input_ids]

    return Measure("tokens", lambda texts: count(texts, frame), lambda texts: count(texts, ending))
