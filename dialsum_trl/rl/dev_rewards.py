"""Evaluations of PPO and GRPO: dev summaries, their ROUGE, and the run's own rewards for them."""

import torch

from dialsum_trl.prompts.prompt import render
from dialsum_trl.training.dev_rouge import DevRouge
from dialsum_trl.training.trackers import log_summaries


class DevRewards:
    """Trainer mixin over TRL's GRPOTrainer: each evaluation summarizes the dev rows greedily and scores them with ROUGE
    and the run's rewards; it generates no groups of summaries and takes no loss, as TRL's would.

    It logs `eval_rouge_mean`, `eval_rouge1`, `eval_rouge2`, `eval_rougeL`, `eval_hit_limit`, `eval_reward` (the
    weighted sum) and `eval_reward_<name>` of each reward function.

    Args:
        eval_dataset: dev rows with the columns of the training rows (`online_rows.online_dev_rows`), or None.
        stop_ids: `chat_tokens.stop_token_ids(tokenizer)`; the first ends a turn.
        rouge_config: a `rouge.RougeConfig`.
    """

    def __init__(self, *args, stop_ids, eval_dataset=None, rouge_config=None, **kwargs):
        self.stop_ids = stop_ids
        super().__init__(*args, eval_dataset=eval_dataset, **kwargs)
        if eval_dataset is not None:
            self.dev_rouge = DevRouge(
                [render(self.processing_class, prompt, generation=True) for prompt in eval_dataset["prompt"]],
                eval_dataset["summaries"],
                rouge_config,
                stop_ids,
                self.processing_class.pad_token_id,
                self.max_completion_length,
            )

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        summaries = self.dev_rouge.summarize(self)
        metrics = self.dev_rouge.score(self, summaries)
        rewards = self._dev_rewards(summaries)
        metrics["eval_reward"] = self.weighted(rewards).mean().item()
        for name, value in zip(self.reward_func_names, rewards.mean(0).tolist(), strict=True):
            metrics[f"eval_reward_{name}"] = value
        training = self.model.training
        self.model.eval()  # else TRL adds what it gathered of the rollouts since the last line
        self.log(dict(metrics))
        self.model.train(training)
        log_summaries(self, self.dev_rouge.references, self.dev_rouge.texts)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _dev_rewards(self, summaries):
        limit, end = self.max_completion_length, self.stop_ids[0]
        ids = [row if len(row) == limit else [*row, end] for row in summaries]
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        return self.rewards_of(list(self.eval_dataset), completions, ids)

    def rewards_of(self, rows, completions, completion_ids):
        """`(rows, functions)`: the value of each reward function, unweighted; they are given the columns of `rows`."""
        columns = {key: [row[key] for row in rows] for key in rows[0] if key != "prompt"}
        prompts = [row["prompt"] for row in rows]
        rewards = [
            function(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)
            for function in self.reward_funcs
        ]
        return torch.tensor(rewards, device=self.accelerator.device).T

    def weighted(self, rewards):
        """`(rows,)`: the reward functions' weighted sum."""
        return (rewards * self.reward_weights.to(rewards.device)).sum(1)
