"""TRL's GRPO trainer with our generation and evaluation."""

import trl

from dialsum_trl.models.adapters import POLICY, adapter_state
from dialsum_trl.rl.adapter_roles import start_from
from dialsum_trl.rl.online_trainer import OnlineTrainer
from dialsum_trl.rl.packed_forwards import fuse_with_reference


class GRPOTrainer(OnlineTrainer, trl.GRPOTrainer):
    """TRL's trainer with our generation and evaluation, a row order that resumes, and only the policy saved.

    Args:
        fast: whether log-probabilities are computed on packs through fused layers.
        others: as of `OnlineTrainer`.
    """

    def __init__(self, model, args, *, fast: bool = True, **kwargs):
        start = adapter_state(model, POLICY)
        fuse_with_reference(model, args, fast)
        super().__init__(model, args=args, **kwargs)
        if self.args.beta:
            start_from(self.model, start)
