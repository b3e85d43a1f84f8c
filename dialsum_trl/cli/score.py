"""`dialsum score`: one file of summaries under every ROUGE configuration, with intervals and floors."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from dialsum_trl.cli.printing import open_console
from dialsum_trl.core.files import json_text
from dialsum_trl.core.settings.bounds import AT_LEAST_0, check_number
from dialsum_trl.core.settings.defaults import BOOTSTRAP, ROUGE_REFERENCES
from dialsum_trl.core.settings.flags import MetricArguments
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.patterns import HANGUL
from dialsum_trl.data.submission import read_aligned
from dialsum_trl.metrics.rouge import CONSTANT_LINE, RougeConfig, RougeReport, score
from dialsum_trl.metrics.row_scores import RowScores, row_score_table


def score_files(
    predictions: Path,
    references: Path,
    bootstrap: int = BOOTSTRAP,
    columns: dict[str, str] | None = None,
    as_json: bool = False,
    metrics: MetricArguments | None = None,
) -> list[RougeReport]:
    """Prints and returns the ROUGE of every configuration that the rows allow; prints the scores of `metrics` too.

    Args:
        metrics: which other scores; default: none.
        columns: names of the second file's columns, as for `data.read_dialogues`.
        as_json: one JSON object on standard output.

    Raises:
        InputError: the files do not hold the same fnames, or the second has no references.
    """
    check_number("bootstrap", bootstrap, AT_LEAST_0)
    rows = read_dialogues(references, columns=columns)
    texts, wanted = read_aligned(predictions, rows["fname"][:]), rows["summaries"][:]
    reports = [score(texts, wanted, config, bootstrap) for config in configurations(wanted)]
    others: list[RowScores] = []
    if metrics and set(metrics.metrics) - {"rouge"}:
        from dialsum_trl.generation.model_scores import load_scorers, model_scores  # they load transformers

        others = model_scores(load_scorers(metrics), texts, wanted, ROUGE_REFERENCES, bootstrap)
    if as_json:
        found = {"scores": [report.to_dict() for report in reports]}
        print(json_text(found | ({"model_scores": [one.to_dict() for one in others]} if others else {})), end="")
    else:
        print_reports(reports)
        if others:
            open_console().print(Text(f"\n{row_score_table(others)}"), soft_wrap=True)
    return reports


def configurations(references: list[list[str]]) -> list[RougeConfig]:
    """Every configuration that says something about rows with these references, the competition's first."""
    korean = any(HANGUL.search(text) for row in references for text in row)
    tokenizers = ("mecab", "whitespace", "char") if korean else ("english", "whitespace")
    several = any(len(row) > 1 for row in references)
    masks = ("split", "atomic")
    return [
        RougeConfig(tokenizer, mask, combined)
        for tokenizer in tokenizers
        for mask in (masks if tokenizer in ("mecab", "char", "english") else masks[:1])
        for combined in (("mean", "max") if several else ("mean",))
    ]


def print_reports(reports: list[RougeReport]) -> None:
    """The table of all configurations, and a line where the summaries are no better than a constant one."""
    console = open_console()
    low, high = reports[0].references_per_row
    several, counts = high > 1, f"{low}" if low == high else f"{low} to {high}"
    console.print(f"F1 x 100, {reports[0].n:,} rows, references per row: {counts}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("tokens")
    table.add_column("masks")
    if several:
        table.add_column("refs")
    for name in ("R-1", "R-2", "R-L", "mean", "95 %", "sum", "floor"):
        table.add_column(name, justify="right", no_wrap=True)
    for report in reports:
        config = report.config
        names = [config.tokenizer, config.masks, *([config.references] if several else [])]
        span = "{:.1f}-{:.1f}".format(*report.interval) if report.interval else ""
        below = report.mean <= report.floor.mean
        figures = [f"{value:.2f}" for value in (report.rouge1, report.rouge2, report.rougeL, report.mean)]
        floor = Text(f"{report.floor.mean:.2f}", "bold red" if below else "dim")
        table.add_row(*names, *figures, span, f"{report.sum:.2f}", floor)
    console.print(table)
    line = f"first line: the competition's; floor: the mean that {CONSTANT_LINE!r} reaches on all rows"
    console.print(Text(line, "dim"))
    if reports[0].mean <= reports[0].floor.mean:
        console.print(Text("these summaries are no better than one constant line", "bold red"))
