"""Pairs to token ids."""

from transformers import PreTrainedTokenizerBase

from dialsum_trl.core.errors import InputError
from dialsum_trl.prompts.control_tokens import neutralize
from dialsum_trl.prompts.prompt import encode_completion, fit, model_messages, prompt_texts, render


def encode_pairs(
    pairs: list[dict], tokenizer: PreTrainedTokenizerBase, stop_ids: list[int], max_length: int
) -> list[dict]:
    """`{"prompt_ids", "chosen_ids", "rejected_ids"}` of each pair; both summaries end with the end of turn.

    The two share one prompt, shortened by whole turns until the longer of them fits into `max_length`.
    """
    texts, bare = prompt_texts(tokenizer), model_messages(tokenizer, "")
    bare_ids = render(tokenizer, bare, generation=True)
    rows = []
    for number, pair in enumerate(pairs, start=1):
        ends = {}
        for name in ("chosen", "rejected"):
            answer = {
                "role": "assistant",
                "content": neutralize(tokenizer, texts.target(pair["prompt"], pair[name])),
            }
            ends[name] = encode_completion(tokenizer, bare_ids, [*bare, answer], stop_ids)
        longest = max(map(len, ends.values()))
        if len(bare_ids) + longest >= max_length:
            raise InputError(
                f"pair {number}: a summary of {longest} tokens leaves no prompt; raise --max_length {max_length}"
            )
        prompt_ids = fit(tokenizer, pair["prompt"], max_length - longest).prompt_ids
        rows.append({"prompt_ids": prompt_ids, "chosen_ids": ends["chosen"], "rejected_ids": ends["rejected"]})
    return rows
