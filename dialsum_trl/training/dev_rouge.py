"""Evaluations that summarize dev rows and log ROUGE."""

from dataclasses import dataclass, field

from accelerate.utils import gather_object
from datasets import Dataset

from dialsum_trl.core.console import say
from dialsum_trl.generation.engine import generate_ids
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.metrics.rouge import RougeConfig, RougeReport, score
from dialsum_trl.training.distributed.sharding import whole_model


def first_rows(dev: Dataset, most: int | str) -> Dataset:
    """The first `most` rows, or "all"."""
    return dev if most == "all" else dev.select(range(min(int(most), len(dev))))


@dataclass
class DevRouge:
    """What a trainer summarizes greedily at each evaluation, and how it is scored.

    `eval_rouge_mean`, `eval_rouge1`, `eval_rouge2`, `eval_rougeL` and `eval_hit_limit` (share of summaries cut by the
    token limit) are logged with `eval_loss`, and `--metric_for_best_model rouge_mean` chooses the best checkpoint by
    them.

    Args:
        prompts: token ids of each row's prompt.
        references: of each row, one or several.
        config: how ROUGE is computed.
        stop_ids, pad_id: tokens that end a summary, and the one that pads.
        max_new_tokens: longest summary.
    """

    prompts: list[list[int]]
    references: list[list[str]]
    config: RougeConfig
    stop_ids: list[int]
    pad_id: int
    max_new_tokens: int
    report: RougeReport | None = field(default=None, init=False)  # of the last evaluation
    texts: list[str] = field(default_factory=list, init=False)  # its summaries

    def measure(self, trainer) -> dict[str, float]:
        """Summarizes the rows and returns the metrics."""
        return self.score(trainer, self.summarize(trainer))

    def summarize(self, trainer) -> list[list[int]]:
        """Token ids of greedy summaries in the order of the rows; every process takes its share and gets all."""
        rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
        settings = GenerationSettings(num_beams=1, max_new_tokens=self.max_new_tokens)
        was_training = trainer.model.training
        with whole_model(trainer) as model:
            model.eval()
            mine = generate_ids(model, self.prompts[rank::world], settings, self.stop_ids, self.pad_id)
        trainer.model.train(was_training)
        parts = gather_object([[ids[0] for ids in mine]])
        return [parts[i % world][i // world] for i in range(len(self.prompts))]

    def score(self, trainer, summaries: list[list[int]]) -> dict[str, float]:
        """The metrics of these summaries; keeps their texts and the report."""
        self.texts = [trainer.processing_class.decode(ids, skip_special_tokens=True).strip() for ids in summaries]
        self.report = report = score(self.texts, self.references, self.config)
        say(f"  {self.references[0][0]!r} <- {self.texts[0]!r}")
        chosen_by = (trainer.args.metric_for_best_model or "") if trainer.args.load_best_model_at_end else ""
        if "rouge" in chosen_by:
            say(f"  ROUGE mean {report.mean:.2f} [{report.interval[0]:.2f}, {report.interval[1]:.2f}], {report.n} rows")
        return {
            "eval_rouge_mean": report.mean,
            "eval_rouge1": report.rouge1,
            "eval_rouge2": report.rouge2,
            "eval_rougeL": report.rougeL,
            "eval_hit_limit": sum(len(ids) >= self.max_new_tokens for ids in summaries) / len(summaries),
        }
