"""Consensus by ROUGE, or a soup, on request greedy."""

import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from dialsum_trl.core.console import is_main_process, say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_target, write_json
from dialsum_trl.data.dialogues import can_be_scored, read_dialogues
from dialsum_trl.data.predictions import ROWS, SCORES, SUBMISSION, submission_of
from dialsum_trl.data.submission import read_aligned, read_predictions, write_submission
from dialsum_trl.generation import sharded as inference
from dialsum_trl.metrics.consensus import mbr
from dialsum_trl.metrics.rouge import RougeConfig, gain, score, score_table
from dialsum_trl.models.adapter_settings import compare_with_adapter
from dialsum_trl.models.soup import greedy_soup, soup


def adjust(values: dict, given: set[str]) -> None:
    """Settings that the user did not give follow the first adapter."""
    first = next(iter(values["adapter_paths"] or ()), None)
    if first and (Path(first).is_dir() or "/" in first):  # else the stage says what is wrong
        found = compare_with_adapter({**values, "adapter_path": first}, given)
        values.update({key: value for key, value in found.items() if key not in given})


def run(data, prompt, model_args, rouge, decoding, args) -> dict:
    """The consensus of files, or the average of adapters."""
    if bool(args.prediction_files) == bool(args.adapter_paths):
        raise InputError("give --prediction_files a.csv b.csv ... (consensus) or --adapter_paths a b ... (soup)")
    if not is_main_process() and not (args.adapter_paths and args.greedy):  # which alone decodes
        return {}

    config = RougeConfig.of(rouge)
    rows = None
    if args.test_file:
        rows = read_dialogues(args.test_file, columns=data.columns(), require_summary=args.greedy)
    if args.prediction_files:
        return choose(args, config, rows)
    return average(args, config, rows, prompt, model_args, decoding)


def check_several(flag: str, paths: list[str], needs: str) -> None:
    """Raises InputError for fewer than two paths, or one that is given twice: it would agree with itself."""
    if len(paths) < 2:
        raise InputError(f"{flag}: {needs}")
    seen = set()
    for path in paths:
        if (place := os.path.realpath(path)) in seen:
            raise InputError(f"{flag} {path}: is given twice; give each once, and --weights for those that count more")
        seen.add(place)


def choose(args, config, rows) -> dict:
    """Consensus of prediction files, its submission and, with references, every system's score."""
    files = [str(submission_of(Path(path))) for path in args.prediction_files]
    check_several("--prediction_files", files, "a consensus needs two files or more")
    if args.weights and len(files) == 2:
        raise InputError("--weights: of two files each is judged by the other one alone; with a third they count")
    fnames = list(rows["fname"]) if rows is not None else list(read_predictions(files[0]))
    texts = [read_aligned(path, fnames) for path in files]
    output = Path(args.output_dir)
    check_target(output / SUBMISSION, "--output_dir", [*files, args.test_file, args.template])
    if (output / ROWS).exists():  # of other summaries, whose rows and tokens would not fit these
        raise InputError(f"--output_dir {output}: holds the summaries of recipes/predict.py; give another folder")
    candidates = [list(row) for row in zip(*texts, strict=True)]
    chosen = mbr(candidates, args.weights, config, args.length_ratio or None)
    summaries = [choice.text for choice in chosen]
    systems = differences = None
    if rows is not None and can_be_scored(rows, args.test_file):
        systems, differences = measure(dict(zip(files, texts, strict=True)), summaries, rows["summaries"], config, args)

    write_submission(output / SUBMISSION, fnames, summaries, template=args.template)
    wins = {file: sum(choice.index == index for choice in chosen) for index, file in enumerate(files)}
    content = {
        "method": "MBR consensus, utility: mean of R-1/2/L F1",
        "utility_config": asdict(config),
        "files": files,
        "weights": args.weights,
        "length_ratio": args.length_ratio or None,
        "chosen_from": wins,
        "rejected_by_length": sum(len(choice.rejected) for choice in chosen),
        "rouge": {name: report.to_dict() for name, report in systems.items()} if systems else None,
        "differences": differences,
    }
    write_json(output / SCORES, content)
    lines = [(file, f"chosen {count} times") for file, count in wins.items()]
    lines += [("candidates left out by length", content["rejected_by_length"]), ("submission", output / SUBMISSION)]
    table(f"Consensus of {len(files)} files, {len(fnames)} rows", lines)
    return {"summaries": summaries, "chosen": chosen, "systems": systems, "differences": differences}


def measure(systems: dict[str, list[str]], summaries: list[str], references, config, args) -> tuple[dict, dict]:
    """Prints and returns every system's report and what the consensus gains on a random pick and on the best file."""
    reports = {name: score(texts, references, config, args.bootstrap) for name, texts in systems.items()}
    best = max(reports, key=lambda name: reports[name].mean)
    baselines = {
        "a random pick": np.mean([report.per_row for report in reports.values()], axis=0),
        f"the best file here ({best})": reports[best].per_row,
    }
    reports["consensus"] = score(summaries, references, config, args.bootstrap)
    say(score_table(reports))
    differences = {}
    for name, per_row in baselines.items():
        delta, interval = gain(reports["consensus"].per_row - per_row, args.bootstrap)
        differences[name] = {"delta_of_mean": delta, "interval95": interval}
        span = "[{:+.2f}, {:+.2f}]".format(*interval) if interval else ""
        say(f"consensus against {name}: {delta:+.2f} {span} ROUGE mean")
    return reports, differences


def average(args, config, rows, prompt, model_args, decoding) -> dict:
    """The soup of adapters, all of them or greedily by the ROUGE mean on `--test_file`."""
    check_several("--adapter_paths", args.adapter_paths, "a soup needs two adapters or more")
    if not args.greedy:
        adapter = soup(args.adapter_paths, args.output_dir, args.weights)
        say(f"averaged {len(args.adapter_paths)} adapters into {adapter}")
        return {"adapter": adapter, "kept": args.adapter_paths, "dev_score": None}
    if rows is None:
        raise InputError("--greedy true needs dev rows with summaries: give --test_file dev.csv")
    if args.weights:
        raise InputError("--weights and --greedy true exclude each other: greedy averages all alike")

    state = inference.start(args.use_cpu)
    settings = inference.generation_settings(decoding, args.max_length)

    def dev_score(folder):
        state.wait_for_everyone()  # for the first process, which writes the soups
        summarizer = inference.load(replace(model_args, adapter_path=str(folder)), prompt, decoding, state.device)
        texts = [s.text for s in inference.summarize_sharded(summarizer, rows["dialogue"], settings, state)]
        report = score(texts, rows["summaries"], config, args.bootstrap)
        say(report.table(folder.name))
        return report.mean

    kept, best = greedy_soup(args.adapter_paths, args.output_dir, dev_score)
    say(f"averaged {len(kept)} of {len(args.adapter_paths)} adapters into {args.output_dir}: ROUGE mean {best:.2f}")
    return {"adapter": Path(args.output_dir), "kept": kept, "dev_score": best}
