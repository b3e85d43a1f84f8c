"""Endless batches of pretraining examples, of like length together, with the weight of each token in the loss."""

from collections.abc import Iterator
from random import Random

import torch
from torch.utils.data import DataLoader

from dialsum_trl.prompts.templates import PINNED_DATE
from toy.make_data import SCENES, sample_plays
from toy.tasks import conversation, source_and_target

PROMPT_WEIGHT = 0.3  # of the loss on a token that nobody asks for, beside 1 for the answers
POOL = 8  # batches whose examples are sorted by length together
POOLS = 1_000_000  # more than any run reads


def held_out() -> set[tuple[str, ...]]:
    """Keys of the dev and test dialogues."""
    return {p.key for split, plays in sample_plays().items() if split != "train" for p in plays}


def encode_chat(tokenizer, messages: list[dict]) -> tuple[list[int], list[float]]:
    """Token ids of a chat and the weight of each token in the loss; an answer's end of turn counts as the answer."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, date_string=PINNED_DATE)
    weights = [PROMPT_WEIGHT] * len(text)
    end = 0
    for message in messages:
        start = text.index(message["content"], end)
        end = start + len(message["content"])
        if message["role"] == "assistant":
            weights[start : end + 1] = [1.0] * (end + 1 - start)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return encoded.input_ids, [weights[start] for start, _ in encoded.offset_mapping]


class Pools:
    """Pools of examples in batches; a pool depends on `seed` and its index alone, so any process may make it."""

    def __init__(self, tokenizer, seed: int, rows: int):
        self.tokenizer, self.seed, self.rows = tokenizer, seed, rows
        self.forbidden = held_out()

    def __len__(self) -> int:
        return POOLS

    def __getitem__(self, index: int) -> list[list[tuple[list, list]]]:
        """Batches of `rows` examples of like length, in random order."""
        rng = Random(f"{self.seed} {index}")
        examples = sorted((self.example(rng) for _ in range(POOL * self.rows)), key=self.size)
        batches = [examples[start : start + self.rows] for start in range(0, len(examples), self.rows)]
        rng.shuffle(batches)
        return batches


class Chats(Pools):
    """(ids, weights) for a causal model."""

    def example(self, rng: Random) -> tuple[list[int], list[float]]:
        return encode_chat(self.tokenizer, conversation(rng, SCENES, self.forbidden))

    def size(self, example) -> int:
        return len(example[0])

    def tensors(self, batch) -> tuple[dict, torch.Tensor, torch.Tensor]:
        """Labels are already the next tokens. Padding weighs 0, and stands on the right, where no token sees it."""
        ids, weights = zip(*batch, strict=True)
        ids = padded(ids, self.tokenizer.pad_token_id)
        return {"input_ids": ids[:, :-1]}, ids[:, 1:], padded(weights, 0.0)[:, 1:]


class TextPairs(Pools):
    """(source, target) for an encoder-decoder model whose decoder starts with eos, as BART's."""

    def example(self, rng: Random) -> tuple[list[int], list[int]]:
        source, target = source_and_target(rng, SCENES, self.forbidden, self.tokenizer.mask_token)
        return self.tokenizer(source).input_ids, self.tokenizer(target).input_ids

    def size(self, example) -> int:
        return len(example[0]) + len(example[1])

    def tensors(self, batch) -> tuple[dict, torch.Tensor, torch.Tensor]:
        sources, targets = zip(*batch, strict=True)
        pad, eos = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        inputs = {
            "input_ids": padded(sources, pad),
            "attention_mask": padded([[1] * len(source) for source in sources], 0),
            "decoder_input_ids": padded([[eos, *target[:-1]] for target in targets], pad),
        }
        return inputs, padded(targets, pad), padded([[1.0] * len(target) for target in targets], 0.0)


def padded(sequences, value) -> torch.Tensor:
    width = max(map(len, sequences))
    return torch.tensor([[*sequence, *[value] * (width - len(sequence))] for sequence in sequences])


def batches(pools: Pools, workers: int = 0) -> Iterator[tuple[dict, torch.Tensor, torch.Tensor]]:
    """Yield (model inputs, labels, weights) without end; the same for any number of worker processes."""
    for pool in DataLoader(pools, batch_size=None, num_workers=workers, collate_fn=list):
        yield from map(pools.tensors, pool)
