"""From folders of predictions and runs to one HTML file."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from dialsum_trl.arguments import DataArguments, RougeArguments, flag, parse_recipe
from dialsum_trl.console import is_main_process, say, table
from dialsum_trl.errors import InputError, command
from dialsum_trl.files import check_place, write_json, write_text
from dialsum_trl.json_file import read_json
from dialsum_trl.share.weights import RUN_FILE

STATE_FILE = "trainer_state.json"
LIMIT = "max length, tokens"  # among a record's settings


@dataclass
class ReportArguments:
    systems: list[str] | None = field(
        default=None,
        metadata={"help": "name=outputs/x ..., folders of predict or ensemble or files fname,summary, in their order."},
    )
    test_file: str | None = flag(None, "CSV or JSONL with dialogues and references that all systems are scored on.")
    runs: list[str] | None = field(
        default=None,
        metadata={"help": "name=outputs/sft ..., training runs; default: the systems' own that lie beside them."},
    )
    focus: str | None = flag(None, "System whose best and worst dialogues are shown; default: the last one.")
    tokenizer: str | None = flag(None, "Model whose tokens are counted; default: the runs' own, else characters.")
    title: str | None = flag(None, "Heading; default: the name of the test file.")
    note: str | None = flag(None, "A sentence under the heading.")
    output_file: str = flag("outputs/report.html", "The page; its figures go beside it as .json.")
    bootstrap: int = flag(1000, "Resamples of the 95 %% intervals.")


def _split(entry: str) -> tuple[str, Path]:
    """The name, empty where none is given, and the path: both may hold a `=`, and what is there decides."""
    cuts = [-1, *(i for i, letter in enumerate(entry) if letter == "=")]
    places = [(entry[: max(cut, 0)], Path(entry[cut + 1 :]).expanduser()) for cut in cuts]
    return next((place for place in places if place[1].exists()), places[min(1, len(places) - 1)])


def named(entries: list[str] | None) -> list[tuple[str, Path]]:
    """`name=path` entries; a bare path is named after its last part, also one with a `=` in it.

    Raises:
        InputError: a name twice, or a path that does not exist.
    """
    found: list[tuple[str, Path]] = []
    for entry in entries or []:
        name, path = _split(entry)
        name = name or path.name
        if not path.exists():
            raise InputError(f"{entry}: {path} does not exist; give name=folder or name=file")
        if name in [other for other, _ in found]:
            raise InputError(f"{entry}: the name {name} stands twice; give every system its own")
        found.append((name, path))
    return found


def read_run(name: str, folder: Path):
    """A `page.Run` from the folder that training left.

    Raises:
        InputError: it holds no log, or a damaged one.
    """
    from dialsum_trl.reporting.page import Run

    if not (folder / STATE_FILE).exists():
        raise InputError(f"{folder}: holds no {STATE_FILE}; give the output_dir of a training run")
    remedy = "leave the run out of --runs, or give the folder that training wrote"
    history = read_json(folder / STATE_FILE, remedy).get("log_history")
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise InputError(f"{folder / STATE_FILE}: log_history is no list of log entries; {remedy}")
    if not all(isinstance(entry.get("step"), int) for entry in history):
        raise InputError(f"{folder / STATE_FILE}: log_history has an entry without its step; {remedy}")
    record = read_json(folder / RUN_FILE, remedy) if (folder / RUN_FILE).exists() else {}
    settings = record.get("settings", {})
    if not isinstance(settings, dict):
        raise InputError(f"{folder / RUN_FILE}: its settings are no object; {remedy}")
    if type(settings.get(LIMIT)) not in (int, type(None)):
        raise InputError(f"{folder / RUN_FILE}: '{LIMIT}' is no whole number; {remedy}")
    if not isinstance(record.get("base_model", ""), str):
        raise InputError(f"{folder / RUN_FILE}: its base_model is no text; {remedy}")
    return Run(name, history, record, str(folder) if (folder / "tokenizer_config.json").exists() else None)


def figures_file(page: Path) -> Path:
    """Where the figures of `page` go, once it is sure that page and figures replace nothing but an earlier report.

    Raises:
        InputError: `page` is no .html, or one of the two places is taken by something else.
    """
    if page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output_file {page}: the report is a page; name a .html file, such as outputs/report.html")
    figures = page.with_suffix(".json")
    for path in (page, figures):
        check_place(path)
    remedy = f"the figures of {page} go there: give another --output_file"
    if figures.exists() and "systems" not in read_json(figures, remedy):
        raise InputError(f"{figures}: exists and is no report's; {remedy}")
    return figures


def find_runs(scored, folders: dict[str, Path]) -> list:
    """The runs of the systems' adapters or models that lie beside their summaries, each once.

    Args:
        folders: where each system lies, by its name.

    Raises:
        InputError: an adapter or a model that is no text, or a damaged run.
    """
    runs, seen = [], set()
    for one in scored:
        made_by = [one.how.get(key) or "" for key in ("adapter", "model")]
        if not all(isinstance(text, str) for text in made_by):
            raise InputError(f"{one.name}: its scores.json names an adapter or model that is no text; predict again")
        folder = beside(folders[one.name], made_by[0] or made_by[1])
        if folder is None and made_by[0]:
            say(f"{one.name}: its adapter does not lie beside its summaries; --runs {one.name}=folder shows its curves")
        if folder is not None and folder not in seen and (folder / STATE_FILE).exists():
            runs.append(read_run(one.name, folder))
        seen.add(folder)
    return runs


def beside(system: Path, wanted: str) -> Path | None:
    """The folder that `wanted` names, where it is the one around `system` or lies in that, and is no link.

    `wanted` comes from a file: it is compared with the names that are there, and never opened as a path.
    """
    if not wanted:
        return None
    around, name = Path(os.path.abspath(system)).parent, os.path.abspath(wanted)
    found = next((each for each in (around, *around.iterdir()) if str(each) == name and each.is_dir()), None)
    if found is None or (found.is_symlink() and found != around):
        return None
    return None if any((found / file).is_symlink() for file in (STATE_FILE, RUN_FILE)) else found


def audit_file(path: str, columns: dict[str, str]):
    """A `page.FileCheck` of a data file; `columns` as for `data.read_dialogues`."""
    from dialsum_trl.corpus.tables import read_table
    from dialsum_trl.data import resolve_columns
    from dialsum_trl.reporting.page import FileCheck
    from dialsum_trl.tool.audit import audit_rows

    rows = list(read_table(path))
    names = resolve_columns(path, list(rows[0].values), columns, require_summary=False)
    return FileCheck(Path(path).name, audit_rows(rows, names))


def count_lengths(rows, name: str, tokenizer: str | None, max_length: int | None):
    """`page.Lengths` of prompt + first summary, and the length of every prompt."""
    from dialsum_trl.corpus.lengths import measure
    from dialsum_trl.reporting.page import Lengths

    how = measure(tokenizer)
    prompts = how.prompt(rows["dialogue"][:])
    whole = prompts
    if all(rows["summaries"]):
        summaries = how.summary([references[0] for references in rows["summaries"]])
        whole = [one + other for one, other in zip(prompts, summaries, strict=True)]
    return Lengths(name, how.unit, whole, max_length), prompts


@command
def report(recipe: dict, argv: list[str]) -> dict:
    """Scores all systems on the same rows and writes the page and its figures.

    Returns:
        The figures, as in the `.json` file.
    """
    data, rouge, args = parse_recipe([DataArguments, RougeArguments, ReportArguments], recipe, argv, stage="report")
    if not args.systems or not args.test_file:
        raise InputError("give --systems name=outputs/x ... and --test_file dev.csv (dialogues with references)")
    if not is_main_process():
        return {}
    if args.bootstrap < 1:
        raise InputError(f"--bootstrap {args.bootstrap}: the page shows intervals; give 1000, or leave --bootstrap out")
    figures_path = figures_file(Path(args.output_file))
    from dialsum_trl.corpus.contamination import contamination_warnings
    from dialsum_trl.data import read_dialogues
    from dialsum_trl.predictions import read_system
    from dialsum_trl.reporting import figures, page
    from dialsum_trl.rouge import RougeConfig, bootstrap_interval
    from dialsum_trl.share.record import versions

    rows = read_dialogues(args.test_file, columns=data.columns())
    folders = named(args.systems)
    systems = [read_system(name, path).named_as(rows["fname"][:]) for name, path in folders]
    for system in systems:
        if missing := [name for name in rows["fname"] if name not in system.summaries]:
            raise InputError(
                f"{system.name}: {len(missing)} rows of {args.test_file} have no summary ({missing[0]}); "
                "were the summaries made for another file?"
            )
    config = RougeConfig(rouge.rouge_tokenizer, rouge.rouge_masks, rouge.rouge_references)
    scored = figures.score_systems(systems, rows, config, args.bootstrap)
    if args.focus and args.focus not in [one.name for one in scored]:
        raise InputError(f"--focus {args.focus}: no such system; there are {', '.join(one.name for one in scored)}")
    focus = next((one for one in scored if one.name == args.focus), scored[-1])
    runs = [read_run(name, path) for name, path in named(args.runs)] if args.runs else find_runs(scored, dict(folders))

    train = read_dialogues(data.train_file, columns=data.columns()) if data.train_file else None
    tokenizer = args.tokenizer or next((run.tokenizer for run in runs if run.tokenizer), None)
    limits = [run.record.get("settings", {}).get(LIMIT) for run in runs]
    source, counted = (data.train_file, train) if train is not None else (args.test_file, rows)
    lengths, _ = count_lengths(counted, Path(source).name, tokenizer, min(filter(None, limits), default=None))
    _, prompts = count_lengths(rows, Path(args.test_file).name, tokenizer, None)

    best = max(scored, key=lambda one: one.report.mean)
    total = None
    if best is not scored[0]:
        gained = best.means - scored[0].means
        interval = bootstrap_interval(gained, args.bootstrap)
        total = figures.Change(scored[0].name, float(gained.mean()), interval)
    topics, by_length = figures.by_topic(scored, rows["topic"][:]), figures.by_length(scored, prompts, lengths.unit)
    html = page.render(
        title=args.title or f"Summaries of {Path(args.test_file).name}",
        note=args.note,
        test_name=Path(args.test_file).name,
        rows=rows,
        scored=scored,
        total=total,
        focus=focus,
        topics=topics,
        lengths_of_dialogues=by_length,
        runs=runs,
        files=[audit_file(path, data.columns()) for path in (data.train_file, args.test_file) if path],
        leaks=contamination_warnings(train, rows) if train is not None else None,
        lengths=lengths,
        versions=versions(),
    )
    write_text(args.output_file, html)
    content = summary_of(scored, topics, by_length, lengths)
    write_json(figures_path, content)
    print_systems(scored, args.test_file)
    say(f"report: {args.output_file}")
    return content


def summary_of(scored, topics, by_length, lengths) -> dict:
    """The report's figures, ready for JSON."""
    systems = {
        one.name: {
            "rouge": one.report.to_dict(),
            "change": one.change
            and {"since": one.change.since, "delta": one.change.delta, "interval95": list(one.change.interval)},
            "masks_kept": one.masks,
            "length_ratio": one.length_ratio,
            "hit_limit": one.hit_limit,
            "tokens": one.tokens,
        }
        for one in scored
    }
    groups = {
        title: {group.name: {"rows": group.rows, **dict(zip(systems, group.means, strict=True))} for group in part}
        for title, part in (("by_topic", topics), ("by_length", by_length))
    }
    over = {f"percent over {limit}": share for limit, share in lengths.shares}
    return {"systems": systems, **groups, "lengths": {"unit": lengths.unit, "of": lengths.name, **over}}


def print_systems(scored, test_file: str) -> None:
    """The score table for the terminal, within 80 columns for short names."""
    lines = []
    for one in scored:
        change = "{:+.1f} [{:.1f}, {:.1f}]".format(one.change.delta, *one.change.interval) if one.change else ""
        lines.append((one.name, *_five(one.report), change))
    lines.append(("constant line", *_five(scored[0].report.floor), ""))
    table(
        f"ROUGE F1 x 100 on {scored[0].report.n} rows of {Path(test_file).name}; {scored[0].report.config}",
        lines,
        ("", "R-1", "R-2", "R-L", "mean", "sum", "change [95 %]"),
    )


def _five(report):
    parts = [f"{value:.1f}" for value in (report.rouge1, report.rouge2, report.rougeL)]
    return [*parts, f"{report.mean:.2f}", f"{report.sum:.1f}"]
