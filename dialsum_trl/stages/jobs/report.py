"""Systems, runs and files gathered into one page and its figures."""

from functools import partial
from pathlib import Path

from datasets import Dataset

from dialsum_trl.core.console import is_main_process, say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_place, write_json, write_text
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.versions import versions
from dialsum_trl.data.audit import audit_rows
from dialsum_trl.data.contamination import contamination_warnings
from dialsum_trl.data.dialogues import named_rows, read_dialogues
from dialsum_trl.data.lengths import Measure
from dialsum_trl.data.predictions import System, read_system
from dialsum_trl.generation.model_scores import load_scorers, model_scores
from dialsum_trl.metrics.rouge import Comparison, RougeConfig, score_table
from dialsum_trl.metrics.row_scores import row_score_table
from dialsum_trl.prompts.token_lengths import measure
from dialsum_trl.sharing.report import figures, page
from dialsum_trl.sharing.report.runs import find_runs, named, read_run


def figures_file(page: Path) -> Path:
    """Where the figures of `page` go, once it is sure that page and figures replace nothing but an earlier report."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output_file {page}: the report is a page; name a .html file, such as outputs/report.html")
    figures = page.with_suffix(".json")
    for path in (page, figures):
        check_place(path)
    remedy = f"the figures of {page} go there: give another --output_file"
    if figures.exists() and "systems" not in read_json(figures, remedy):
        raise InputError(f"{figures}: exists and is no report's; {remedy}")
    return figures


def run(data, rouge, args) -> dict:
    """Scores all systems on the same rows and writes the page."""
    if not args.systems or not args.test_file:
        raise InputError("give --systems name=outputs/x ... and --test_file dev.csv (dialogues with references)")
    if not is_main_process():
        return {}
    if args.bootstrap < 1:
        raise InputError(f"--bootstrap {args.bootstrap}: the page shows intervals; give 1000, or leave --bootstrap out")
    figures_path = figures_file(Path(args.output_file))

    rows = read_dialogues(args.test_file, columns=data.columns())
    folders = named(args.systems)
    systems = read_systems(folders, rows["fname"][:], args.test_file)
    config = RougeConfig.of(rouge)
    scored = figures.score_systems(systems, rows, config, args.bootstrap)
    scorers = load_scorers(args)
    wanted = rows["summaries"][:]
    others = {
        one.name: model_scores(scorers, one.texts, wanted, config.references, args.bootstrap)
        for one in (scored if scorers else ())
    }
    if args.focus and args.focus not in [one.name for one in scored]:
        raise InputError(f"--focus {args.focus}: no such system; there are {', '.join(one.name for one in scored)}")
    focus = next((one for one in scored if one.name == args.focus), scored[-1])
    given = named(args.runs)
    runs = [read_run(name, path) for name, path in given.items()] if given else find_runs(scored, folders)

    train = read_dialogues(data.train_file, columns=data.columns()) if data.train_file else None
    tokenizer = args.tokenizer or next((run.tokenizer for run in runs if run.tokenizer), None)
    limits = [run.record.get("settings", {}).get("max_length") for run in runs]
    source, counted = (data.train_file, train) if train is not None else (args.test_file, rows)
    how = measure(tokenizer)
    limit = min(filter(None, limits), default=None)
    lengths = page.Lengths(Path(source).name, how.unit, whole_lengths(counted, how), limit)

    rows_of = partial(named_rows, columns=data.columns(), require_summary=False, strict=False)
    best = max(scored, key=lambda one: one.report.mean)
    total = None if best is scored[0] else Comparison.between(scored[0].report, best.report, args.bootstrap)
    topics = figures.by_topic(scored, rows["topic"][:])
    by_length = figures.by_length(scored, how.prompt(rows["dialogue"][:]), how.unit)
    html = page.render(
        rows,
        scored,
        focus,
        runs,
        title=args.title or f"Summaries of {Path(args.test_file).name}",
        note=args.note,
        test_name=Path(args.test_file).name,
        total=total,
        others=others,
        parts={"By topic": topics, "By length of the dialogue": by_length},
        audits=[(Path(path).name, audit_rows(rows_of(path))) for path in (data.train_file, args.test_file) if path],
        leaks=contamination_warnings(train, rows) if train is not None else None,
        lengths=lengths,
        versions=versions(),
    )
    write_text(args.output_file, html)
    content = summary_of(scored, others, topics, by_length, lengths)
    write_json(figures_path, content)
    changes = {
        one.name: "{:+.1f} [{:.1f}, {:.1f}]".format(one.change.delta, *one.change.interval) for one in scored[1:]
    }
    say(score_table({one.name: one.report for one in scored}, changes))
    for name, found in others.items():
        say(f"{name}\n{row_score_table(found)}")
    say(f"report: {args.output_file}")
    return content


def read_systems(folders: dict[str, Path], fnames: list[str], test_file: str) -> list[System]:
    """Each system's summaries; raises InputError for one that lacks rows of the test file."""
    systems = [read_system(name, path).named_as(fnames) for name, path in folders.items()]
    for system in systems:
        if missing := [name for name in fnames if name not in system.summaries]:
            raise InputError(
                f"{system.name}: {len(missing)} rows of {test_file} have no summary ({missing[0]}); "
                "were the summaries made for another file?"
            )
    return systems


def whole_lengths(rows: Dataset, how: Measure) -> list[int]:
    """Length of prompt + first summary of each row; of the prompt alone where there are rows without summaries."""
    dialogues = rows["dialogue"][:]
    if not all(rows["summaries"]):
        return how.prompt(dialogues)
    return how.both(dialogues, [references[0] for references in rows["summaries"]])


def summary_of(scored, others, topics, by_length, lengths) -> dict:
    """The report's figures, ready for JSON."""
    systems = {
        one.name: {
            "rouge": one.report.to_dict(),
            "change": one.change
            and {"since": before.name, "delta": one.change.delta, "interval95": list(one.change.interval)},
            "masks_kept": one.masks,
            "length_ratio": one.length_ratio,
            "hit_limit": one.hit_limit,
            "tokens": one.tokens,
            **({"model_scores": [each.to_dict() for each in others[one.name]]} if others else {}),
        }
        for before, one in zip([None, *scored], scored, strict=False)
    }
    groups = {
        title: {group.name: {"rows": group.rows, **dict(zip(systems, group.means, strict=True))} for group in part}
        for title, part in (("by_topic", topics), ("by_length", by_length))
    }
    over = {f"percent over {limit}": share for limit, share in lengths.shares}
    return {"systems": systems, **groups, "lengths": {"unit": lengths.unit, "of": lengths.name, **over}}
