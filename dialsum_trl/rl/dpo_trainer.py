"""TRL's DPO trainer on our token ids."""

import math

import trl

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.models.adapters import POLICY, adapter_state
from dialsum_trl.rl.adapter_roles import start_from
from dialsum_trl.rl.packed_forwards import fuse_with_reference
from dialsum_trl.training.checked import CheckedTrainer


class DPOTrainer(CheckedTrainer, trl.DPOTrainer):
    """TRL's trainer on our token ids; before the first step policy and reference must be the same model.

    Args:
        model: a LoRA model whose policy is the SFT adapter.
        train_dataset, eval_dataset: `preference_pairs.encode_pairs`.
        quantization: how the base is stored: "4bit", "8bit" or "none".
        fast: whether log-probabilities are computed on packs through fused layers.
    """

    first_loss = None

    def __init__(self, model, args, train_dataset, *, quantization: str = "none", fast: bool = True, **kwargs):
        start = adapter_state(model, POLICY)
        columns = [train_dataset[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")]
        lengths = [sum(map(len, pair)) for pair in zip(*columns, strict=True)]
        fuse_with_reference(model, args, fast, (lengths, quantization))
        super().__init__(model, args=args, train_dataset=train_dataset, **kwargs)
        start_from(self.model, start)

    def prepare_rows(self, rows, usual):
        return rows  # tokenized by `encode_pairs`, as SFT and the reward model see the texts

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.first_loss is None and self.model.training and self.args.loss_type == ["sigmoid"]:
            self.first_loss = (result[0] if return_outputs else result).item()
            fresh = self.state.global_step == 0
            if fresh and abs(self.first_loss - math.log(2)) > 1e-3:
                raise TrainingError(
                    f"the first DPO loss is {self.first_loss:.4f}, not ln 2 = {math.log(2):.4f}: the "
                    f"reference is not the adapter that training starts from"
                )
        return result
