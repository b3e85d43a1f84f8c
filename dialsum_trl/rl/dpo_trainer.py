"""TRL's DPO trainer on our token ids."""

import math

from dialsum_trl.core.errors import TrainingError


def trainer_class():
    from trl import DPOTrainer

    from dialsum_trl.rl.rollouts import PolicyAlone
    from dialsum_trl.training.checked import CheckedTraining

    class PairPolicyTrainer(PolicyAlone, CheckedTraining, DPOTrainer):
        """TRL's trainer on our token ids; before the first step policy and reference must be the same model."""

        first_loss = None

        def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
            return dataset  # tokenized by `pairs.encode_pairs`, as SFT and the reward model see the texts

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

    return PairPolicyTrainer
