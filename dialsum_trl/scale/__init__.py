"""Several processes: what runs under what, whole tensors out of split ones, checkpoints for any number."""
