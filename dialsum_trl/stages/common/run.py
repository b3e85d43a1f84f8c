"""`Run`: the skeleton of the six training jobs (below)."""


def peak_memory_gib() -> float:
    """Highest GPU memory reserved by this process, GiB (0 without a GPU)."""
    import torch

    return round(torch.cuda.max_memory_reserved() / 2**30, 2) if torch.cuda.is_available() else 0.0


def train_loss(result, checkpoint: str | None) -> dict:
    """A row of the closing table: the mean loss of the steps that this process made, None where none was left to make.

    Args:
        result: what `Trainer.train` returned.
    """
    return {f"train loss{' since the checkpoint' if checkpoint else ''}": round(result.training_loss, 4) or None}
