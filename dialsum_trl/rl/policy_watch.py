"""Tripwires for a policy that learns from rewards, and its best adapter so far."""

from collections.abc import Callable

from transformers import TrainerCallback

from dialsum_trl.core.console import say


class PolicyWatch(TrainerCallback):
    """Records the start of a run, the evaluation with the highest reward, and the tripwire that stopped the run.

    Args:
        keep_best: called when an evaluation is the best so far.
    """

    KEPT = ("start_metrics", "best_metrics", "best_step", "tripped")  # in checkpoints

    def __init__(self, keep_best: Callable[[], None]):
        self.keep_best = keep_best
        self.start_metrics: dict | None = None
        self.best_metrics: dict | None = None
        self.best_step: int | None = None
        self.tripped: str | None = None

    def to_dict(self) -> dict:
        return {name: getattr(self, name) for name in self.KEPT}

    def load(self, saved: dict) -> None:
        """Continues from what `to_dict` returned."""
        for name in self.KEPT:
            setattr(self, name, saved[name])

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        if self.start_metrics is None:
            self.start_metrics = metrics
        start, best = self.start_metrics["eval_rouge_mean"], self.best_metrics
        rouge, reward = metrics["eval_rouge_mean"], metrics["eval_reward"]
        if rouge < start - args.max_rouge_drop:
            self._trip(state, control, f"dev ROUGE fell from {start:.2f} to {rouge:.2f}, more than --max_rouge_drop")
        elif best is None or reward > best["eval_reward"]:
            self.best_metrics, self.best_step = metrics, state.global_step
            self.keep_best()

    def on_rollout(self, args, state, control, kl: float, truncated: float) -> None:
        """Called by the trainer.

        Args:
            kl: mean KL to the SFT adapter, nats per summary.
            truncated: share of summaries cut by the token limit.
        """
        if kl > args.kl_target:
            self._trip(state, control, f"KL {kl:.1f} nats per summary is above --kl_target {args.kl_target}")
        elif truncated > args.max_truncated:
            cut = f"{100 * truncated:.0f} % of the summaries were cut at {args.max_completion_length} tokens"
            self._trip(state, control, cut)

    def _trip(self, state, control, reason: str) -> None:
        """Stops the run after this step."""
        if self.tripped is None:
            self.tripped = f"step {state.global_step}: {reason}"
            say(f"tripwire, {self.tripped}; stopping, the best adapter so far is kept")
        control.should_training_stop = True
