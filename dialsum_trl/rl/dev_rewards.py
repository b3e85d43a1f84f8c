"""Evaluations of PPO and GRPO: dev summaries, their ROUGE, and what the run's own rewards pay for them."""

from dialsum_trl.training.dev_rouge import RougeEvaluation


class DevRewards(RougeEvaluation):
    """Trainer mixin over TRL's GRPOTrainer: each evaluation summarizes the dev rows greedily and scores them with ROUGE
    and the run's rewards; it generates no groups of summaries and takes no loss, as TRL's would.

    It logs `eval_rouge_mean`, `eval_rouge1`, `eval_rouge2`, `eval_rougeL`, `eval_hit_limit`, `eval_reward` (the
    weighted sum) and `eval_reward_<name>` of each reward function. `stop_ids` are `models.stop_token_ids(tokenizer)`.
    """

    dev_rows = None

    def evaluate_on(self, rows, config) -> None:
        """Args: dev rows with the columns of the training rows, or None; a `rouge.RougeConfig`."""
        from dialsum_trl.prompts.prompt import render

        self.dev_rows = rows
        if rows is not None:
            self.rouge_evaluation(
                [render(self.processing_class, prompt, generation=True) for prompt in rows["prompt"]],
                rows["summaries"],
                config,
                self.stop_ids,
                self.processing_class.pad_token_id,
                self.max_completion_length,
            )

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        from dialsum_trl.training.trackers import log_summaries

        outputs = self.summarize_rows()
        metrics = self._rouge_metrics(outputs)
        rewards = self._dev_rewards(outputs)
        metrics["eval_reward"] = self.weighted(rewards).mean().item()
        for name, value in zip(self.reward_func_names, rewards.mean(0).tolist(), strict=True):
            metrics[f"eval_reward_{name}"] = value
        training = self.model.training
        self.model.eval()  # else TRL adds what it gathered of the rollouts since the last line
        self.log(dict(metrics))
        self.model.train(training)
        log_summaries(self, self.rouge_references, self.rouge_texts)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _dev_rewards(self, outputs):
        limit, end = self.rouge_max_new_tokens, self.rouge_ids[0][0]
        ids = [row if len(row) == limit else [*row, end] for row in outputs]
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        return self.rewards_of(list(self.dev_rows), completions, ids)

    def rewards_of(self, rows, completions, completion_ids):
        """`(rows, functions)`: what each reward function pays, unweighted; they are given the columns of `rows`."""
        import torch

        columns = {key: [row[key] for row in rows] for key in rows[0] if key != "prompt"}
        prompts = [row["prompt"] for row in rows]
        paid = [
            function(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)
            for function in self.reward_funcs
        ]
        return torch.tensor(paid, device=self.accelerator.device).T

    def weighted(self, rewards):
        """`(rows,)`: the reward functions' weighted sum."""
        return (rewards * self.reward_weights.to(rewards.device)).sum(1)
