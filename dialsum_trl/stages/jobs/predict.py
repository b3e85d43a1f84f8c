"""Rows, summaries, rules, files, scores."""

from dataclasses import asdict
from pathlib import Path

from dialsum_trl.core.console import is_main_process, say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_writable
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.data.dialogues import can_be_scored, read_dialogues
from dialsum_trl.data.predictions import SUBMISSION, write_predictions
from dialsum_trl.data.submission import check_template, in_nikl_layout, write_submission
from dialsum_trl.data.summary_rules import apply, check_rules
from dialsum_trl.generation import sharded as inference
from dialsum_trl.generation.model_scores import load_scorers, model_scores
from dialsum_trl.generation.settings import Summary
from dialsum_trl.metrics.rouge import RougeConfig, score
from dialsum_trl.metrics.row_scores import row_score_table
from dialsum_trl.models.adapter_settings import use_adapter_settings as adjust  # noqa: F401 - `settings.resolve` calls it
from dialsum_trl.models.identity import digest
from dialsum_trl.prompts.prompt import check_fields

CANDIDATES = "candidates"  # of several summaries per row: 1.csv, 2.csv, ..., each for an ensemble


def check_candidates(folder: Path, count: int) -> None:
    """Raises InputError where candidates of an earlier run would be left among those of this one."""
    written = {f"{number}.csv" for number in range(1, count + 1)} if count > 1 else set()
    if left := sorted({path.name for path in folder.glob("*.csv")} - written):
        raise InputError(
            f"{folder}: {left[0]} is of an earlier run with more candidates, and would be mixed with the new ones; "
            f"give another --output_dir, or remove the folder"
        )


def run(data, prompt, model_args, rouge, decoding, args) -> dict:
    """Summarizes `test_file`; returns summaries and scores."""
    if not args.test_file:
        raise InputError("no dialogues: give --test_file test.csv (fname,dialogue[,summary])")
    folder = Path(args.output_dir)
    check_writable(folder)
    check_candidates(folder / CANDIDATES, args.num_return_sequences)
    rules = check_rules([] if args.postprocess == ["none"] else args.postprocess)

    rows = read_dialogues(args.test_file, columns=data.columns(), require_summary=False)
    check_fields(prompt, rows, args.test_file)
    fnames = rows["fname"][:]
    template = args.template or (args.test_file if in_nikl_layout(args.test_file) else None)
    check_template(template, fnames)

    state = inference.start(args.use_cpu)
    summarizer = inference.load(model_args, prompt, decoding, state.device)
    settings = inference.generation_settings(decoding, args.max_length, args.num_return_sequences)
    if is_main_process():
        sole_writer(folder)
    candidates, journal = inference.summarize_kept(
        summarizer,
        rows["dialogue"][:],
        settings,
        state,
        folder,
        _depends_on(model_args, decoding, summarizer, settings, rows),
        args.save_every,
        rows["topic"][:],
    )
    summaries = [row[0] for row in candidates]
    texts = [
        [apply(summary.text, rules, dialogue) for summary in row]
        for row, dialogue in zip(candidates, rows["dialogue"], strict=True)
    ]
    first = [row[0] for row in texts]

    scores, others = None, []
    if can_be_scored(rows, args.test_file):
        scores = score(first, rows["summaries"], RougeConfig.of(rouge), bootstrap=args.bootstrap)
        del summarizer  # its memory
        others = model_scores(
            load_scorers(args, state.device), first, rows["summaries"][:], rouge.rouge_references, args.bootstrap
        )
    if is_main_process():
        how = {
            "model": model_args.model_name_or_path,
            "adapter": model_args.adapter_path,
            "decoding": asdict(decoding),
            "postprocess": rules,
            "test_file": args.test_file,
            **({"model_scores": [one.to_dict() for one in others]} if others else {}),
        }
        write_predictions(folder, fnames, first, how, generated=summaries, scores=scores, template=template)
        if args.num_return_sequences > 1:
            for number, chosen in enumerate(zip(*texts, strict=True), start=1):
                write_submission(folder / CANDIDATES / f"{number}.csv", fnames, chosen, template=template)
        journal.path.unlink()
    if scores:
        say(scores.table())
    if others:
        say(row_score_table(others))
    print_figures(folder, summaries, rules, template, args.num_return_sequences)
    return {"summaries": first, "scores": scores, "model_scores": others}


def print_figures(folder: Path, summaries: list[Summary], rules: list[str], template: str | None, several: int) -> None:
    """The closing table: what was generated and where it is."""
    count, submission = len(summaries), folder / SUBMISSION
    lines = [
        ("rows", count),
        ("mean length, tokens", round(sum(summary.tokens for summary in summaries) / count, 1)),
        ("cut by --max_new_tokens", f"{100 * sum(summary.hit_limit for summary in summaries) / count:.1f} %"),
        ("post-processing", " ".join(rules) or "none"),
        ("submission", submission),
    ]
    if template and (suffix := Path(template).suffix.lower()) != ".csv":
        lines.append(("in the layout of the template", submission.with_suffix(suffix)))
    if several > 1:
        lines.append((f"{several} candidates a row, one file each", folder / CANDIDATES))
    table("Summaries", lines)


def _depends_on(model_args, decoding, summarizer, settings, rows) -> dict:
    """What the summaries depend on; the batch size is not among it, so that a run can continue with a smaller one."""
    return {
        **inference.identity(model_args, decoding, summarizer.tokenizer),
        "decoding": {name: value for name, value in asdict(settings).items() if name != "batch_size"},
        "dialogues": digest(rows["dialogue"][:]),
    }
