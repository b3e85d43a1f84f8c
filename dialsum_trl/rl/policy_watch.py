"""Watching a policy while it learns from rewards: tripwires, and the best adapter so far."""

import json
from pathlib import Path

from dialsum_trl.core.console import say
from dialsum_trl.rl.dev_rewards import DevRewards
from dialsum_trl.rl.ppo_checkpoints import BEST_FOLDER, put_best


class PolicyWatch(DevRewards):
    """Trainer mixin: keeps the adapter whose dev summaries earn the highest reward.

    A tripwire stops the run; `restore_best` puts the best adapter back.
    """

    best_report = None  # no checkpoint holds it: a resumed run measures it again where nothing better came

    def watch_policy(self, rows, config) -> None:
        """Args: as of `evaluate_on`."""
        self.watch = dict.fromkeys(("start_metrics", "best_metrics", "best_step", "tripped"))
        self.evaluate_on(rows, config)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        self._watch_evaluation(metrics)
        return metrics

    def _watch_evaluation(self, metrics: dict) -> None:
        if self.watch["start_metrics"] is None:
            self.watch["start_metrics"] = metrics
        start, best = self.watch["start_metrics"]["eval_rouge_mean"], self.watch["best_metrics"]
        rouge, reward = metrics["eval_rouge_mean"], metrics["eval_reward"]
        if rouge < start - self.args.max_rouge_drop:
            self.trip(f"dev ROUGE fell from {start:.2f} to {rouge:.2f}, more than --max_rouge_drop")
        elif best is None or reward > best["eval_reward"]:
            self.watch.update(best_metrics=metrics, best_step=self.state.global_step)
            self.best_report = self.rouge_report
            self._keep_best()

    def watch_rollout(self, kl: float, truncated: float) -> None:
        """Args: mean KL to the SFT adapter, nats a summary; share of summaries cut by the token limit."""
        if kl > self.args.kl_target:
            self.trip(f"KL {kl:.1f} nats a summary is above --kl_target {self.args.kl_target}")
        elif truncated > self.args.max_truncated:
            self.trip(f"{100 * truncated:.0f} % of the summaries were cut at {self.max_completion_length} tokens")

    def trip(self, reason: str) -> None:
        """Stops the run after this step."""
        if self.watch["tripped"] is None:
            self.watch["tripped"] = f"step {self.state.global_step}: {reason}"
            say(f"tripwire, {self.watch['tripped']}; stopping, the best adapter so far is kept")
        self.control.should_training_stop = True

    def _run_epoch(self, *args, **kwargs):
        """As the trainer's; no step follows in a run that continues behind the one at which it was stopped."""
        if self.watch["tripped"] is None:
            return super()._run_epoch(*args, **kwargs)
        say(f"tripwire, {self.watch['tripped']}; it stopped the run before this checkpoint, no step is made")
        self.control.should_training_stop = True

    def _keep_best(self) -> None:
        if not self.args.should_save:
            return

        def fill(folder: Path) -> None:
            self.save_policy(folder)
            self.write_record(folder)
            (folder / "best.json").write_text(json.dumps(self.watch) + "\n", encoding="utf-8")

        put_best(Path(self.args.output_dir), fill)

    def restore_best(self) -> None:
        """Puts the best adapter back into the policy, on every rank; without evaluations the last one stays."""
        self.accelerator.wait_for_everyone()
        if self.watch["best_step"] is not None:
            self.load_policy_weights(Path(self.args.output_dir) / BEST_FOLDER)
            if self.best_report is None and self.dev_rows is not None:
                self._rouge_metrics(self.summarize_rows())
                self.best_report = self.rouge_report
            self.rouge_report = self.best_report
