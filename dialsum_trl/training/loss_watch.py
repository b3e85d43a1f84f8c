"""A warning where the training loss does not fall."""

from transformers import TrainerCallback

from dialsum_trl.core.console import say

LEAST_FALL = 0.02  # of the loss, within the first epoch


class LossWatch(TrainerCallback):
    """Compares the first and the last loss that were logged in the first epoch, and says so where it hardly fell."""

    def on_epoch_end(self, args, state, control, **kwargs):
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        if round(state.epoch) == 1 and len(losses) > 1 and losses[-1] > (1 - LEAST_FALL) * losses[0]:
            say(
                f"warning: the loss went from {losses[0]:.3f} to {losses[-1]:.3f} in the first epoch and hardly fell: "
                f"raise --learning_rate ({args.learning_rate:g}); docs/recipes.md says how to find one"
            )
