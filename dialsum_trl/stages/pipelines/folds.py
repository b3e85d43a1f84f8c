"""Fold by fold: rows, adapter, summaries of what it left out; then all of them together."""

from dataclasses import asdict
from pathlib import Path

from dialsum_trl.core.console import is_main_process, say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_json, write_text
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.folds import FOLDS_FILE, divide, rows_as_csv
from dialsum_trl.data.predictions import SUBMISSION, write_predictions
from dialsum_trl.data.submission import check_template, read_predictions
from dialsum_trl.metrics.rouge import RougeConfig, score
from dialsum_trl.models.adapter_settings import use_adapter_settings
from dialsum_trl.models.base import loaded_once
from dialsum_trl.stages.ensemble import ensemble
from dialsum_trl.stages.pipelines.steps import as_flags, column_flags, predicted, trained
from dialsum_trl.stages.sft import train_sft


def adjust(values: dict, given: set[str]) -> None:
    """What the user did not set follows the adapter to start from, where there is one."""
    use_adapter_settings(values, given)


def run(data, prompt, model_args, rouge, decoding, args) -> dict:
    """Trains, predicts and scores every fold; returns the figures of the closing table."""
    if not data.train_file:
        raise InputError("no training rows: give --train_file train.csv (fname,dialogue,summary)")
    rows = read_dialogues(data.train_file, columns=data.columns())
    test = read_dialogues(args.test_file, columns=data.columns(), require_summary=False) if args.test_file else None
    check_template(args.template, test["fname"][:] if test is not None else [])
    parts = divide(rows, args.folds, decoding.seed)
    if not all(parts):
        raise InputError(f"--folds {args.folds}: {data.train_file} has fewer dialogues; give fewer folds")
    root, texts, files = Path(args.output_dir), {}, []
    folders = [root / f"fold{number}" for number in range(args.folds)]
    if is_main_process():
        sole_writer(root)
        for folder, held_out in zip(folders, parts, strict=True):
            kept = sorted(set(range(len(rows))) - set(held_out))
            write_text(folder / "train.csv", rows_as_csv(rows, kept))
            write_text(folder / "held_out.csv", rows_as_csv(rows, held_out))
    how = {**as_flags(model_args, prompt, args), **vars(rouge)}
    search = {**asdict(decoding), "bootstrap": args.bootstrap}
    drawn = {name: search.pop(name) for name in ("temperature", "top_p")}
    sampling = {**drawn, "do_sample": True, "num_beams": 1, "length_penalty": 1.0}
    sampling["num_return_sequences"] = args.candidates
    with loaded_once():
        for folder in folders:
            settings = {**how, "train_file": folder / "train.csv", "seed": decoding.seed, **args.sft}
            adapter = trained(train_sft, folder / "adapter", **settings)["adapter"]
            model = {**how, "adapter_path": adapter}
            held_out = predicted(folder / "held_out", **model, **search, test_file=folder / "held_out.csv")
            texts |= read_predictions(held_out / SUBMISSION)
            if test is not None:
                more = sampling if args.candidates > 1 else {}
                asked = {**search, **more, **column_flags(data), "test_file": args.test_file}
                place = predicted(folder / "test", **model, **asked)
                files += sorted((place / "candidates").glob("*.csv")) if more else [place]
    scores = score([texts[fname] for fname in rows["fname"]], rows["summaries"], RougeConfig.of(rouge), args.bootstrap)
    say(scores.table("out of fold"))
    if is_main_process():
        folds = [
            {"adapter": str(folder / "adapter"), "held_out": [rows["fname"][i] for i in held_out]}
            for folder, held_out in zip(folders, parts, strict=True)
        ]
        write_json(root / FOLDS_FILE, {"train_file": data.train_file, "folds": folds})
        about = {"method": "each row summarized by the adapter that left it out", "decoding": asdict(decoding)}
        ordered = [texts[fname] for fname in rows["fname"]]
        write_predictions(root / "out_of_fold", rows["fname"][:], ordered, about, scores=scores)
    figures = {"folds": args.folds, "rows": len(rows), "ROUGE mean out of fold": scores.mean, "scores": scores}
    if files:
        votes = [str(file) for file in [*files, *(args.prediction_files or [])]]
        voting = {"prediction_files": votes, "test_file": args.test_file, "length_ratio": args.length_ratio}
        voting |= column_flags(data)
        voting |= {"template": args.template} if args.template else {}
        result = ensemble(output_dir=root / "consensus", bootstrap=args.bootstrap, **voting, **vars(rouge))
        figures["submission"] = str(root / "consensus" / SUBMISSION)
        figures["systems"] = result.get("systems")
    table("Folds", [(name, value) for name, value in figures.items() if name not in ("scores", "systems")])
    return figures
