"""Evaluations that summarize dev rows and log ROUGE."""

from dialsum_trl.core.console import say


class RougeEvaluation:
    """Trainer mixin: each evaluation also summarizes fixed dev rows greedily and logs ROUGE.

    `rouge_evaluation(...)` sets it up; then `eval_rouge_mean`, `eval_rouge1`, `eval_rouge2`, `eval_rougeL` and
    `eval_hit_limit` (share of summaries cut by the token limit) stand beside `eval_loss`, and
    `--metric_for_best_model rouge_mean` chooses the best checkpoint by them.
    """

    rouge_prompts: list = ()
    rouge_report = None  # `rouge.RougeReport` of the last evaluation

    def rouge_evaluation(self, prompts, references, config, stop_ids, pad_id, max_new_tokens) -> None:
        """Args: prompt ids a row, reference lists a row, a `rouge.RougeConfig`, stop and pad ids, token limit."""
        self.rouge_prompts = prompts
        self.rouge_references = references
        self.rouge_config = config
        self.rouge_ids = (stop_ids, pad_id)
        self.rouge_max_new_tokens = max_new_tokens

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        from dialsum_trl.training.trackers import log_summaries

        self.rouge_metrics = {}
        if self.rouge_prompts and metric_key_prefix == "eval":
            self.rouge_metrics = self._rouge_metrics(self.summarize_rows())
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if self.rouge_metrics:  # after the scores: they open a tracker that was closed when training ended
            log_summaries(self, self.rouge_references, self.rouge_texts)
        return {**metrics, **self.rouge_metrics}

    def log(self, logs, start_time=None):
        if "eval_loss" in logs:  # one line in the log and in every tracker
            logs.update(self.rouge_metrics)
        super().log(logs, start_time)

    def summarize_rows(self) -> list[list[int]]:
        """Greedy summaries (token ids) of the fixed rows in their order; every rank takes its share and gets all."""
        from accelerate.utils import gather_object

        from dialsum_trl.generation.engine import generate_ids
        from dialsum_trl.generation.settings import GenerationSettings
        from dialsum_trl.training.distributed.sharding import whole_model

        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        stop_ids, pad_id = self.rouge_ids
        settings = GenerationSettings(num_beams=1, max_new_tokens=self.rouge_max_new_tokens)
        was_training = self.model.training
        with whole_model(self) as model:
            model.eval()
            mine = generate_ids(model, self.rouge_prompts[rank::world], settings, stop_ids, pad_id)
        self.model.train(was_training)
        parts = gather_object([[ids[0] for ids in mine]])
        return [parts[i % world][i // world] for i in range(len(self.rouge_prompts))]

    def _rouge_metrics(self, outputs: list[list[int]]) -> dict[str, float]:
        from dialsum_trl.metrics.rouge import score

        texts = self.rouge_texts = [
            self.processing_class.decode(ids, skip_special_tokens=True).strip() for ids in outputs
        ]
        report = self.rouge_report = score(texts, self.rouge_references, self.rouge_config)
        hits = sum(len(ids) >= self.rouge_max_new_tokens for ids in outputs)
        say(f"  {self.rouge_references[0][0]!r} <- {texts[0]!r}")
        return {
            "eval_rouge_mean": report.mean,
            "eval_rouge1": report.rouge1,
            "eval_rouge2": report.rouge2,
            "eval_rougeL": report.rougeL,
            "eval_hit_limit": hits / len(outputs),
        }
