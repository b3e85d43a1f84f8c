"""Endless batches of pretraining examples, of like length together, with the weight of each token in the loss."""

from collections.abc import Callable, Iterator
from random import Random

from dialsum_trl.prompts.templates import PINNED_DATE
from toy.make_data import SCENES, sample_plays
from toy.tasks import conversation, source_and_target

PROMPT_WEIGHT = 0.3  # of the loss on a token that nobody asks for, beside 1 for the answers
POOL = 256  # examples sorted by length at a time


def held_out() -> set[tuple[str, ...]]:
    """Keys of the dev and test dialogues."""
    return {p.key for split, plays in sample_plays().items() if split != "train" for p in plays}


def encode_chat(tokenizer, messages: list[dict]) -> tuple[list[int], list[float]]:
    """Token ids of a chat and the weight of each token in the loss."""
    ids: list[int] = []
    weights: list[float] = []
    done = ""
    for end in range(2, len(messages), 2):  # system and user, then assistant and user in turn
        for upto, generation, weight in ((end, True, PROMPT_WEIGHT), (end + 1, False, 1.0)):
            text = tokenizer.apply_chat_template(
                messages[:upto], tokenize=False, add_generation_prompt=generation, date_string=PINNED_DATE
            )
            part = tokenizer(text[len(done) :], add_special_tokens=False).input_ids
            ids += part
            weights += [weight] * len(part)
            done = text
    return ids, weights


def grouped(rng: Random, make: Callable, size: Callable, tokens: int) -> Iterator[list]:
    """Yield lists of examples from `make()` whose padded size (`size(example)` each) is at most `tokens`."""
    while True:
        pool = sorted((make() for _ in range(POOL)), key=size)
        groups: list[list] = [[]]
        for example in pool:
            if (len(groups[-1]) + 1) * size(example) > tokens:
                groups.append([])
            groups[-1].append(example)
        rng.shuffle(groups)
        yield from groups


def padded(sequences: list[list], value):
    import torch

    width = max(map(len, sequences))
    return torch.tensor([list(s) + [value] * (width - len(s)) for s in sequences])


def chat_batches(tokenizer, rng: Random, tokens: int) -> Iterator[tuple[dict, object, object]]:
    """Yield (model inputs, labels, weights) for a causal model; labels are already the next tokens."""
    forbidden = held_out()

    def make():
        return encode_chat(tokenizer, conversation(rng, SCENES, forbidden))

    for group in grouped(rng, make, lambda chat: len(chat[0]), tokens):
        ids = padded([ids for ids, _ in group], tokenizer.pad_token_id)
        mask = padded([[1] * len(ids) for ids, _ in group], 0)
        weights = padded([weights[1:] for _, weights in group], 0.0)
        yield {"input_ids": ids[:, :-1], "attention_mask": mask[:, :-1]}, ids[:, 1:], weights


def text_pair_batches(tokenizer, rng: Random, tokens: int) -> Iterator[tuple[dict, object, object]]:
    """Yield (model inputs, labels, weights) for an encoder-decoder model whose decoder starts with eos, as BART's."""
    forbidden = held_out()

    def make():
        source, target = source_and_target(rng, SCENES, forbidden, tokenizer.mask_token)
        return tokenizer(source).input_ids, tokenizer(target).input_ids

    for group in grouped(rng, make, lambda pair: len(pair[0]) + len(pair[1]), tokens):
        sources, targets = zip(*group, strict=True)
        inputs = {
            "input_ids": padded(sources, tokenizer.pad_token_id),
            "attention_mask": padded([[1] * len(s) for s in sources], 0),
            "decoder_input_ids": padded([[tokenizer.eos_token_id, *t[:-1]] for t in targets], tokenizer.pad_token_id),
        }
        yield inputs, padded(targets, tokenizer.pad_token_id), padded([[1.0] * len(t) for t in targets], 0.0)
