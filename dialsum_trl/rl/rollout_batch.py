"""Tensors of a rollout: prompts padded on the left, completions on the right, cut to the longest row of a part."""

import torch
from torch.nn.utils.rnn import pad_sequence

CHUNK_TOKENS = 16384  # of a forward without gradients: fills a GPU, and its activations stay far below a GiB


def pad_rows(rows: list[list[int]], pad_id: int, device, side: str = "right") -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask `(rows, longest row)`, padded on one side."""
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    padded = pad_sequence(ids, batch_first=True, padding_value=pad_id, padding_side=side)
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True, padding_side=side)
    return padded.to(device), mask.to(device)


def pad_rollout(prompts: list[list[int]], completions: list[list[int]], pad_id: int, device) -> dict:
    """`prompt_ids`, `prompt_mask` `(B, P)`, padded on the left; `completion_ids`, `completion_mask` `(B, T)`."""
    prompt_ids, prompt_mask = pad_rows(prompts, pad_id, device, "left")
    completion_ids, completion_mask = pad_rows(completions, pad_id, device)
    return dict(
        prompt_ids=prompt_ids, prompt_mask=prompt_mask, completion_ids=completion_ids, completion_mask=completion_mask
    )


def trim(batch: dict) -> dict:
    """Cuts padding columns that all rows share: left of the prompts, right of what runs along completions.

    Entries without dimensions stay.
    """
    left = batch["prompt_mask"].shape[1] - int(batch["prompt_mask"].sum(1).max())
    right = int(batch["completion_mask"].sum(1).max())
    return {
        name: value if value.dim() == 0 else value[:, left:] if name.startswith("prompt_") else value[:, :right]
        for name, value in batch.items()
    }


def in_chunks(batch: dict, function) -> torch.Tensor:
    """`function(part) -> (b, t)` over rows of similar length, `CHUNK_TOKENS` at a time; `(B, T)`, 0 on padding."""
    mask = batch["completion_mask"]
    lengths = (batch["prompt_mask"].sum(1) + mask.sum(1)).tolist()
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    result = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, CHUNK_TOKENS // lengths[order[start]])]
        part = trim({name: value[rows] for name, value in batch.items()})
        values = function(part)
        result[rows, : values.shape[1]] = values.float() * part["completion_mask"]
        start += len(rows)
    return result
