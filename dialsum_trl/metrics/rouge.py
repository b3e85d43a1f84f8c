"""Korean ROUGE: `rouge_score`'s arithmetic on the tokens of `tokens.tokenize`, with intervals and a floor.

    report = score(predictions, references)          # RougeReport
    print(report.table())
    compare(baseline, predictions, references)       # paired difference with its interval

F1 x 100; the arithmetic is in `metrics.overlap`.
"""

from dataclasses import asdict, dataclass, field

import numpy as np

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import AT_LEAST_0, check_number
from dialsum_trl.core.settings.defaults import BOOTSTRAP, ROUGE_MASKS, ROUGE_REFERENCES, ROUGE_TOKENIZER
from dialsum_trl.core.settings.flags import RougeArguments
from dialsum_trl.data.patterns import HANGUL
from dialsum_trl.metrics.overlap import pairwise
from dialsum_trl.metrics.tokens import TOKENIZERS, tokenize, tokenizer_version

CONSTANT_LINE = "#Person1#은 #Person2#에게 이야기한다."
METRICS = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class RougeConfig:
    """What a score depends on; printed and saved with every score."""

    tokenizer: str = ROUGE_TOKENIZER  # mecab | whitespace | char | english
    masks: str = ROUGE_MASKS  # split | atomic: is #Person1# one token
    references: str = ROUGE_REFERENCES  # mean | max over the references of a row
    stemmer: bool = False  # english only

    def __post_init__(self) -> None:
        choices = {"tokenizer": TOKENIZERS, "masks": ("split", "atomic"), "references": ("mean", "max")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"--rouge_{name} is one of {', '.join(allowed)}, not '{getattr(self, name)}'")
        if self.stemmer and self.tokenizer != "english":
            raise InputError(f"the stemmer is for --rouge_tokenizer english, not '{self.tokenizer}'")

    @classmethod
    def of(cls, arguments: RougeArguments) -> "RougeConfig":
        """The configuration that the `--rouge_*` flags ask for."""
        return cls(arguments.rouge_tokenizer, arguments.rouge_masks, arguments.rouge_references)

    def tokens(self, text: str) -> tuple[str, ...]:
        """Tokens of `text` under this configuration."""
        return tokenize(text, self.tokenizer, self.masks, self.stemmer)

    def __str__(self) -> str:
        stemmed = ", stemmed" if self.stemmer else ""
        by = tokenizer_version(self.tokenizer)
        return f"{self.tokenizer} tokens{stemmed}, masks {self.masks}, {self.references} over references ({by})"


DEFAULT = RougeConfig()


@dataclass(frozen=True)
class RougeReport:
    """F1 x 100 over `n` rows. `per_row`: float array `(n, 3)` of R-1, R-2, R-L x 100."""

    rouge1: float
    rouge2: float
    rougeL: float
    n: int
    config: RougeConfig
    interval: tuple[float, float] | None = None  # 95 % bootstrap interval of `mean`
    floor: "RougeReport | None" = None  # a constant line on the same rows
    floor_line: str = CONSTANT_LINE
    references_per_row: tuple[int, int] = (1, 1)  # fewest and most
    per_row: np.ndarray = field(kw_only=True, repr=False, compare=False)

    @property
    def mean(self) -> float:
        """Mean of the three: the leaderboard's scale."""
        return (self.rouge1 + self.rouge2 + self.rougeL) / 3

    @property
    def sum(self) -> float:
        """Sum of the three: the scale of the design's dev figures."""
        return self.rouge1 + self.rouge2 + self.rougeL

    def to_dict(self, per_row: bool = False) -> dict:
        """JSON-ready, with its configuration; `per_row` adds `[[R-1, R-2, R-L], ...]`."""
        result = {name: round(getattr(self, name), 4) for name in (*METRICS, "mean", "sum")}
        result["interval95_of_mean"] = [round(end, 4) for end in self.interval] if self.interval else None
        result["n"] = self.n
        result["references_per_row"] = list(self.references_per_row)
        result["config"] = {**asdict(self.config), "tokens_by": tokenizer_version(self.config.tokenizer)}
        if self.floor:
            result["floor"] = {"line": self.floor_line}
            result["floor"] |= {name: round(getattr(self.floor, name), 4) for name in (*METRICS, "mean", "sum")}
        if per_row:
            result["per_row"] = self.per_row.round(4).tolist()
        return result

    def table(self, name: str = "summaries") -> str:
        """`score_table` of this report alone."""
        return score_table({name: self})


@dataclass(frozen=True)
class Comparison:
    """`b` minus `a` on the same rows; `interval`: 95 % paired bootstrap interval of `delta`, the mean's difference."""

    delta: float
    interval: tuple[float, float]
    a: RougeReport
    b: RougeReport

    @classmethod
    def between(cls, a: RougeReport, b: RougeReport, bootstrap: int = BOOTSTRAP, seed: int = 0) -> "Comparison":
        """Of two reports of the same rows; without resamples the interval is the difference itself."""
        delta, interval = gain(b.per_row - a.per_row, bootstrap, seed)
        return cls(delta, interval or (delta, delta), a, b)

    @property
    def verdict(self) -> str:
        """ "better", "worse", or "unclear" when the interval holds 0."""
        return "better" if self.interval[0] > 0 else "worse" if self.interval[1] < 0 else "unclear"

    def __str__(self) -> str:
        return (
            f"{self.a.mean:.2f} -> {self.b.mean:.2f}: {self.delta:+.2f} "
            f"[{self.interval[0]:+.2f}, {self.interval[1]:+.2f}] ROUGE mean, {self.a.n} rows, {self.a.config}"
        )


def score_table(reports: dict[str, RougeReport], changes: dict[str, str] | None = None) -> str:
    """A few lines for the terminal: what was counted, each score, and the floor.

    Args:
        reports: name -> report, all of the same rows.
        changes: name -> what its last column shows.
    """
    first = next(iter(reports.values()))
    low, high = first.references_per_row
    references = f"{low} reference{'s' * (low > 1)}" if low == high else f"{low}-{high} references"
    rows = reports | ({"constant line": first.floor} if first.floor else {})
    width = max(map(len, rows))
    head = f"{'':{width}}     R-1    R-2    R-L    mean     sum   95 % of mean"
    lines = [
        f"ROUGE F1 x 100, {first.n} rows, {references} a row; {first.config}",
        head + "     change" * bool(changes),
    ]
    for name, report in rows.items():
        span = "{:.2f} - {:.2f}".format(*report.interval) if report.interval else ""
        figures = f"{report.rouge1:6.2f} {report.rouge2:6.2f} {report.rougeL:6.2f}"
        change = (changes or {}).get(name, "")
        lines.append(f"{name:{width}}  {figures}  {report.mean:6.2f} {report.sum:7.2f}   {span:15} {change}".rstrip())
    if first.floor:
        lines.append(f"constant line = {first.floor_line!r} for every row")
    return "\n".join(lines)


def score(
    predictions: list[str],
    references: list[list[str]],
    config: RougeConfig = DEFAULT,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
    floor_line: str | None = CONSTANT_LINE,
) -> RougeReport:
    """Scores each prediction against the references of its row.

    Args:
        bootstrap: resamples of the rows for the interval; 0 gives none.
        floor_line: the constant prediction scored on the same rows; None for no floor.

    Raises:
        InputError: resamples below 0, no rows, lengths that differ, a row without references, something that is not
            text, or Korean references under the `english` tokenizer, which drops Hangul and then scores masks alone.
    """
    check_number("bootstrap", bootstrap, AT_LEAST_0)
    _check(predictions, references, config)
    floor = None
    if floor_line is not None:
        floor = score([floor_line] * len(predictions), references, config, bootstrap=0, floor_line=None)
    rows = np.array([_row_score(text, row, config) for text, row in zip(predictions, references, strict=True)])
    counts = [len(row) for row in references]
    rouge1, rouge2, rouge_l = rows.mean(axis=0).tolist()
    return RougeReport(
        rouge1,
        rouge2,
        rouge_l,
        n=len(rows),
        config=config,
        interval=bootstrap_interval(rows.mean(axis=1), bootstrap, seed) if bootstrap else None,
        floor=floor,
        floor_line=floor_line or "",
        references_per_row=(min(counts), max(counts)),
        per_row=rows,
    )


def row_means(predictions: list[str], references: list[list[str]], config: RougeConfig = DEFAULT) -> list[float]:
    """The mean of R-1, R-2 and R-L F1 of each row, 0 to 1."""
    report = score(predictions, references, config, bootstrap=0, floor_line=None)
    return (report.per_row.mean(axis=1) / 100).tolist()


def compare(
    predictions_a: list[str],
    predictions_b: list[str],
    references: list[list[str]],
    config: RougeConfig = DEFAULT,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
) -> Comparison:
    """How much better `b` is than `a` on the same rows (paired bootstrap; Koehn, EMNLP 2004)."""
    a, b = (score(texts, references, config, bootstrap, seed) for texts in (predictions_a, predictions_b))
    return Comparison.between(a, b, bootstrap, seed)


def gain(
    differences: np.ndarray, bootstrap: int = BOOTSTRAP, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """The mean of paired differences `(n, 3)` of R-1, R-2, R-L, and its 95 % interval where there are resamples."""
    means = differences.mean(axis=1)
    return float(means.mean()), bootstrap_interval(means, bootstrap, seed) if bootstrap else None


def bootstrap_interval(values: np.ndarray, resamples: int = BOOTSTRAP, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` `(n,)` over resampled rows."""
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(seed)
    block = max(1, 2_000_000 // len(values))  # keeps the drawn indices within 16 MB
    means = [
        values[rng.integers(0, len(values), (min(block, resamples - start), len(values)))].mean(axis=1)
        for start in range(0, resamples, block)
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)


def _row_score(prediction: str, references: list[str], config: RougeConfig) -> np.ndarray:
    scores = 100 * pairwise([config.tokens(prediction)], [config.tokens(text) for text in references])[:, 0]
    return scores.mean(axis=1) if config.references == "mean" else scores.max(axis=1)


def _check(predictions: list[str], references: list[list[str]], config: RougeConfig) -> None:
    if len(predictions) != len(references):
        raise InputError(f"{len(predictions)} predictions for {len(references)} rows of references; give one a row")
    if not predictions:
        raise InputError("no rows to score; is the file empty?")
    for number, (text, row) in enumerate(zip(predictions, references, strict=True), start=1):
        if not isinstance(text, str):
            raise InputError(f"prediction {number} is {type(text).__name__}, not text; an empty one is ''")
        if isinstance(row, str) or not row or not all(isinstance(reference, str) for reference in row):
            raise InputError(f"row {number} has no list of references; give each row a list of one or more texts")
        if config.tokenizer == "english" and any(HANGUL.search(reference) for reference in row):
            raise InputError(
                f"row {number} has a Korean reference, and the english tokenizer drops Hangul; "
                "use --rouge_tokenizer mecab"
            )
