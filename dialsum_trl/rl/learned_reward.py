"""A trained reward model as a reward function on the policy's base."""

from pathlib import Path

import torch

from dialsum_trl.models.adapters import REWARD
from dialsum_trl.models.file_names import SCALE_FILE
from dialsum_trl.models.record import read_length_trend, read_scale
from dialsum_trl.prompts.prompt import render
from dialsum_trl.rl.adapter_roles import active_adapter, add_reward
from dialsum_trl.rl.rollout_batch import pad_rows

ROWS = 16  # completions scored at a time


def backbone(model):
    """The decoder without its head, inside a LoRA model."""
    return model.get_base_model().base_model


def last_token_scores(decoder, head, rows: list[list[int]], pad_id: int) -> list[float]:
    """The head's score at each row's last token; a row's score does not depend on the other rows."""
    device = head.weight.device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    scores = [0.0] * len(rows)
    for start in range(0, len(order), ROWS):
        part = order[start : start + ROWS]
        ids, mask = pad_rows([rows[i] for i in part], pad_id, device)
        hidden = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(part), device=device), mask.sum(1) - 1]
        for i, score in zip(part, head(last.to(head.weight.dtype))[:, 0].tolist(), strict=True):
            scores[i] = score
    return scores


class LearnedReward:
    """TRL reward function: the score of `recipes/reward.py`'s adapter, at mean 0 and variance 1 on its held-out pairs.

    Args:
        model: the policy's LoRA model, to which the frozen reward adapter is added.
        folder: of the reward adapter.
        tokenizer: the policy's.
        length_control: take out what the score gains with a summary's length, as on the held-out pairs.
    """

    __name__ = "reward_model"

    def __init__(self, model, folder: str | Path, tokenizer, length_control: bool = False):
        self.per_token, self.usual = read_length_trend(Path(folder) / SCALE_FILE) if length_control else (0.0, 0.0)
        self.head = add_reward(model, folder)
        self.model, self.tokenizer = model, tokenizer
        self.mean, self.std = read_scale(Path(folder) / SCALE_FILE)

    def __call__(self, prompts, completion_ids, **kwargs) -> list[float]:
        rows = [
            render(self.tokenizer, prompt, generation=True) + list(ids)
            for prompt, ids in zip(prompts, completion_ids, strict=True)
        ]
        plain = torch.autocast(self.model.device.type, enabled=False)  # as the scale was measured
        training = self.model.training
        self.model.eval()  # without dropout
        with torch.no_grad(), plain, active_adapter(self.model, REWARD):
            scores = last_token_scores(backbone(self.model), self.head, rows, self.tokenizer.pad_token_id)
        self.model.train(training)
        trends = (self.per_token * (len(ids) - self.usual) for ids in completion_ids)
        return [(score - trend - self.mean) / self.std for score, trend in zip(scores, trends, strict=True)]
