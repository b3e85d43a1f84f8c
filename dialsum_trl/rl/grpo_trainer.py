"""TRL's GRPO trainer with our generation and evaluation."""

import trl

from dialsum_trl.models.adapters import POLICY, adapter_state
from dialsum_trl.rl.dev_rewards import DevRewards
from dialsum_trl.rl.dpo_trainer import start_from
from dialsum_trl.rl.rollouts import FastRollouts, PolicyAlone
from dialsum_trl.training.checked import CheckedTrainer


class GRPOTrainer(DevRewards, FastRollouts, PolicyAlone, CheckedTrainer, trl.GRPOTrainer):
    """TRL's trainer with our generation and evaluation, an order that resumes, and the policy saved alone.

    Args:
        model: a LoRA model whose policy is the SFT adapter.
        stop_ids, eval_dataset, rouge_config: as of `DevRewards`.
    """

    def __init__(self, model, *args, stop_ids, **kwargs):
        start = adapter_state(model, POLICY)
        model.generation_config.eos_token_id = list(stop_ids)
        super().__init__(model, *args, stop_ids=stop_ids, **kwargs)
        if self.args.beta:
            start_from(self.model, start)
