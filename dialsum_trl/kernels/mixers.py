"""Recurrent mixers (Qwen3.5's gated delta nets) on a pack: each document starts from an empty state.

transformers runs them over the whole row, so that a document would read the state that the one before it left.
"""

import torch
from torch.nn.utils.rnn import pad_sequence

from dialsum_trl.models.families.registry import family_of


def separate_documents(model: torch.nn.Module) -> None:
    """Lets the recurrent mixers of a described family take the documents of a pack as rows of their own.

    The rows are padded at their ends, which a recurrence never reads. Without document edges nothing changes.
    """
    family = family_of(model.config.get_text_config().model_type)
    if family is None or family.recurrent is None:
        return
    for name, module in model.named_modules():
        if name.endswith(f".{family.recurrent}"):
            module.forward = _per_document(module.forward)


def _per_document(original):
    def forward(hidden_states, *args, cu_seq_lens_q=None, **kwargs):
        if cu_seq_lens_q is None:
            return original(hidden_states, *args, **kwargs)
        lengths = cu_seq_lens_q.diff().tolist()
        rows = original(pad_sequence(hidden_states[0].split(lengths), batch_first=True))
        return torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)])[None]

    return forward
