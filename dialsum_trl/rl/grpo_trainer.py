"""TRL's GRPO trainer with our generation and evaluation."""

import trl

from dialsum_trl.models.adapters import POLICY, adapter_state
from dialsum_trl.rl.adapter_roles import start_from
from dialsum_trl.rl.online_trainer import OnlineTrainer


class GRPOTrainer(OnlineTrainer, trl.GRPOTrainer):
    """TRL's trainer with our generation and evaluation, a row order that resumes, and only the policy saved.

    Arguments as of `OnlineTrainer`.
    """

    def __init__(self, model, *args, **kwargs):
        start = adapter_state(model, POLICY)
        super().__init__(model, *args, **kwargs)
        if self.args.beta:
            start_from(self.model, start)
