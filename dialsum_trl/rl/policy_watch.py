"""Tripwires for a policy that learns from rewards, and its best adapter so far."""

from collections.abc import Callable

from transformers import TrainerCallback

from dialsum_trl.core.console import say


class PolicyWatch(TrainerCallback):
    """Records the start of a run, its best evaluation, and the tripwire that stopped the run.

    The best one has the highest ROUGE, or what `--metric_for_best_model` names; of equal ones it is the earlier, so
    that what is kept is not below the start.

    Args:
        keep_best: called when an evaluation is the best so far.
        max_rouge_drop: points of dev ROUGE below the start that stop the run.
        max_gaming_drop: as many do where the reward is above its start: the policy learns to please the reward.
    """

    KEPT = ("start_metrics", "best_metrics", "best_step", "tripped")  # in checkpoints

    def __init__(self, keep_best: Callable[[], None], max_rouge_drop: float, max_gaming_drop: float):
        self.keep_best, self.max_rouge_drop, self.max_gaming_drop = keep_best, max_rouge_drop, max_gaming_drop
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
        (start, paid), (rouge, reward) = (
            (found["eval_rouge_mean"], found["eval_reward"]) for found in (self.start_metrics, metrics)
        )
        chosen, best = f"eval_{(args.metric_for_best_model or 'rouge_mean').removeprefix('eval_')}", self.best_metrics
        sign = -1 if args.greater_is_better is False else 1
        if rouge < start - self.max_rouge_drop:
            self._trip(state, control, f"dev ROUGE fell from {start:.2f} to {rouge:.2f}, more than --max_rouge_drop")
        elif reward > paid and rouge < start - self.max_gaming_drop:
            rose = f"the reward rose from {paid:.3f} to {reward:.3f}"
            fell = f"dev ROUGE fell from {start:.2f} to {rouge:.2f}, more than --max_gaming_drop"
            self._trip(state, control, f"{rose} while {fell}")
        elif best is None or sign * metrics[chosen] > sign * best[chosen]:
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
