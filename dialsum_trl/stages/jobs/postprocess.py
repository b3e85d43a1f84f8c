"""The effect of each rule on dev rows; the chosen ones applied."""

from dataclasses import dataclass

from dialsum_trl.core.console import say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.defaults import BOOTSTRAP
from dialsum_trl.data.dialogues import can_be_scored, read_dialogues
from dialsum_trl.data.submission import check_output, read_aligned, write_submission
from dialsum_trl.data.summary_rules import RULES, apply, check_rules
from dialsum_trl.metrics.rouge import DEFAULT, Comparison, RougeConfig, compare


@dataclass(frozen=True)
class RuleDelta:
    """One rule on dev: how many summaries it changed, and the paired difference of the ROUGE mean."""

    rule: str
    changed: int
    comparison: Comparison


def rule_deltas(
    summaries: list[str],
    references: list[list[str]],
    dialogues: list[str],
    config: RougeConfig = DEFAULT,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
) -> list[RuleDelta]:
    """The effect of each rule alone, and of `all` together, on these rows."""
    if len(dialogues) != len(summaries):
        raise InputError(f"{len(summaries)} summaries for {len(dialogues)} dialogues; give one per row")
    deltas = []
    for name, rules in [*((name, [name]) for name in RULES), ("all", list(RULES))]:
        after = [apply(text, rules, dialogue) for text, dialogue in zip(summaries, dialogues, strict=True)]
        changed = sum(left != right for left, right in zip(summaries, after, strict=True))
        deltas.append(RuleDelta(name, changed, compare(summaries, after, references, config, bootstrap, seed)))
    return deltas


def helping(deltas: list[RuleDelta]) -> list[str]:
    """The single rules whose 95 % interval is above 0."""
    return [delta.rule for delta in deltas if delta.rule in RULES and delta.comparison.interval[0] > 0]


def print_deltas(deltas: list[RuleDelta]) -> None:
    """For the terminal: rule, summaries changed, difference of the ROUGE mean with its interval."""
    before = deltas[0].comparison.a
    title = f"post-processing on {before.n} rows, ROUGE mean before {before.mean:.2f}; {before.config}"
    rows = []
    for delta in deltas:
        span = "{:+.2f} to {:+.2f}".format(*delta.comparison.interval)
        rows.append((delta.rule, delta.changed, f"{delta.comparison.delta:+.2f}", span))
    table(title, rows, ("rule", "changed", "delta", "95 % interval"))
    say(f"rules that help: {', '.join(helping(deltas)) or 'none'}")


def run(data, rouge, args) -> dict:
    """Measures the rules on rows with references, and applies the chosen ones."""
    if not args.prediction_file or not args.test_file:
        raise InputError("give --prediction_file submission.csv and --test_file dev.csv (its dialogues)")

    rules = args.rules or []
    if args.bootstrap < 1:
        raise InputError(f"--bootstrap {args.bootstrap}: must be at least 1: rules are judged by their intervals")
    check_rules(rule for rule in rules if rule != "helping")
    if args.output_file:
        if not rules:
            raise InputError("--output_file needs --rules: name them, or --rules helping")
        check_output(args.output_file, "--output_file", [args.prediction_file, args.test_file], args.template)
    rows = read_dialogues(args.test_file, columns=data.columns(), require_summary=False)
    fnames, dialogues, references = list(rows["fname"]), list(rows["dialogue"]), list(rows["summaries"])
    summaries = read_aligned(args.prediction_file, fnames)
    deltas = None
    if can_be_scored(rows, args.test_file):
        config = RougeConfig.of(rouge)
        deltas = rule_deltas(summaries, references, dialogues, config, args.bootstrap)
        print_deltas(deltas)
    if deltas is None and (not rules or "helping" in rules):
        what = "--rules helping" if rules else "no --rules"
        raise InputError(f"{what}: {args.test_file} lacks references to measure rules on; name the rules, or give them")
    if "helping" in rules:
        rules = [rule for rule in rules if rule != "helping"] + helping(deltas)
    repaired = [apply(text, rules, dialogue) for text, dialogue in zip(summaries, dialogues, strict=True)]
    if args.output_file:
        write_submission(args.output_file, fnames, repaired, template=args.template)
        say(f"{args.output_file}: {', '.join(rules) or 'no rule'} applied")
    elif args.rules:
        say("nothing is written: --output_file repaired.csv writes the repaired summaries")
    return {"deltas": deltas, "rules": rules, "summaries": repaired}
