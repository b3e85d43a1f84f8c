"""Rounds of sampling, ranking by agreement, and training on what was ranked."""

import json
from dataclasses import replace
from pathlib import Path

from datasets import Dataset, concatenate_datasets

from dialsum_trl.core.console import is_main_process, say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_text
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.data.cleaning import unwritable
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.folds import read_fold_adapters
from dialsum_trl.data.tables import csv_line
from dialsum_trl.generation.samples import PAIRS_FILE
from dialsum_trl.metrics.consensus import agreements, mbr
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.models.adapter_settings import use_adapter_settings
from dialsum_trl.rl.pair_making import BROKEN, best_and_worst
from dialsum_trl.stages.common.sampling import kept_samples
from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.pipelines.steps import as_flags, column_flags, trained
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.distributed.once import once

BEST_FILE = "best.csv"


def adjust(values: dict, given: set[str]) -> None:
    """Base, dtype and prompt are the adapter's.

    Raises:
        InputError: no adapter was named.
    """
    if not values["adapter_path"]:
        raise InputError("--adapter_path: give the SFT adapter to sample from and to train further, outputs/sft_...")
    use_adapter_settings(values, given)


def run(data, prompt, model_args, rouge, decoding, args) -> dict:
    """Samples, ranks and trains as often as asked; returns the figures of the closing table."""
    rows = dialogues(data, args.unlabelled_files or [])
    root, config, adapter = Path(args.output_dir), RougeConfig.of(rouge), model_args.adapter_path
    if is_main_process():
        sole_writer(root)
    figures: dict = {"dialogues": len(rows), "samples a dialogue": args.samples}
    for number in range(1, args.rounds + 1):
        folder = root / f"round{number}"
        folds = read_fold_adapters(args.folds_dir) if args.folds_dir and number == 1 else {}
        samples = sampled(rows, folds, folder, replace(model_args, adapter_path=adapter), prompt, decoding, args)
        made = once(lambda: write_ranked(folder, rows, samples, config, data.columns(), args))  # noqa: B023 - called at once
        figures |= {f"round {number}, {name}": count for name, count in made.items()}
        for what in args.learn:
            model = as_flags(replace(model_args, adapter_path=adapter), prompt, args)
            result = LEARN[what](folder, data, rouge, args, model)
            adapter = result["adapter"]
            for name in ("eval_rouge_mean", "held-out accuracy"):
                if name in result:
                    figures[f"round {number}, {what}: {name.removeprefix('eval_')}"] = result[name]
    figures["adapter"] = adapter
    table("Distilled", list(figures.items()))
    return figures


def dialogues(data, unlabelled: list[str]) -> Dataset:
    """Every dialogue once, whatever its references; names are of its first row.

    Raises:
        InputError: no file, or one name for two dialogues.
    """
    if not (files := [*([data.train_file] if data.train_file else []), *unlabelled]):
        raise InputError("no dialogues: give --train_file, or --unlabelled_files a.csv b.csv")
    rows = concatenate_datasets([read_dialogues(file, columns=data.columns(), require_summary=False) for file in files])
    first = {dialogue: index for index, dialogue in reversed(list(enumerate(rows["dialogue"])))}
    rows = rows.select(sorted(first.values()))
    if len(set(rows["fname"])) < len(rows):
        raise InputError("--unlabelled_files: names two dialogues alike that differ; give each row its own fname")
    return rows


def sampled(rows, folds: dict, folder: Path, model_args, prompt, decoding, args) -> list[list[str]]:
    """Samples of every row: of the adapter of the fold that was not trained on it, else of the adapter itself."""
    of_row = [folds.get(fname, model_args.adapter_path) for fname in rows["fname"]]
    samples: dict[str, list[str]] = {}
    for number, adapter in enumerate(dict.fromkeys(of_row)):
        part = rows.select([index for index, one in enumerate(of_row) if one == adapter])
        place = folder / f"samples{number}" if folds else folder
        own = replace(model_args, adapter_path=adapter)
        found = kept_samples(part, place, args.samples, args.max_length, args.use_cpu, own, prompt, decoding)
        samples |= dict(zip(part["fname"], found, strict=True))
    return [samples[fname] for fname in rows["fname"]]


def write_ranked(
    folder: Path, rows: Dataset, samples: list[list[str]], config: RougeConfig, columns: dict[str, str], args
) -> dict[str, int]:
    """Writes `best.csv` (for SFT) and `pairs.jsonl` (for DPO), and counts what is in them.

    Raises:
        InputError: nothing could be ranked.
    """
    usable = [[text for text in texts if text and BROKEN not in text and not unwritable(text)] for texts in samples]
    kept = [index for index, texts in enumerate(usable) if texts]
    chosen = dict(zip(kept, mbr([usable[i] for i in kept], None, config, args.length_ratio or None), strict=True))
    lines, pairs = [csv_line([columns[name] for name in ("fname", "dialogue", "summary")])], []
    for index, row in enumerate(rows):
        if index not in chosen:
            continue
        references = row["summaries"] if args.references else []
        for number, text in enumerate([chosen[index].text, *references]):
            lines.append(csv_line([row["fname"] + f"_ref{number}" * bool(number), row["dialogue"], text]))
        found, _ = best_and_worst(usable[index], agreements(usable[index], config), args.margin, args.length_tolerance)
        if found:
            pair = {"fname": row["fname"], "prompt": row["dialogue"], "chosen": found[0], "rejected": found[1]}
            pairs.append({**pair, "margin": round(found[2], 4), "kind": "agreement"})
    needed = {"sft": (len(chosen), "--samples"), "dpo": (len(pairs), "--temperature or --samples, or lower --margin")}
    for what in args.learn:
        if not needed[what][0]:
            raise InputError(f"{folder}: the samples give nothing for {what}; raise {needed[what][1]}")
    write_text(folder / BEST_FILE, "".join(lines))
    write_text(folder / PAIRS_FILE, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
    say(f"{folder}: {len(chosen)} summaries that agree most, {len(pairs)} pairs")
    return {"summaries": len(chosen), "pairs": len(pairs)}


def learn_sft(folder: Path, data, rouge, args, model: dict) -> dict:
    """The adapter trained further on `best.csv`; with dev rows the checkpoint with the best summaries is kept."""
    choose = {"metric_for_best_model": "rouge_mean"} if data.eval_file else {}
    rows = {"train_file": folder / BEST_FILE, "eval_file": data.eval_file, **column_flags(data), **vars(rouge)}
    return trained(train_sft, folder / "sft", **{**model, **rows, **choose, **args.sft})


def learn_dpo(folder: Path, data, rouge, args, model: dict) -> dict:
    """The adapter trained further on `pairs.jsonl`."""
    return trained(train_dpo, folder / "dpo", **{**model, "pairs_file": folder / PAIRS_FILE, **args.dpo})


LEARN = {"sft": learn_sft, "dpo": learn_dpo}
