"""Samples, scores and pairs; rows that the adapter was trained on are an error."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

from dialsum_trl.core.console import is_main_process, say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_text
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.folds import write_folds
from dialsum_trl.generation.samples import PAIRS_FILE
from dialsum_trl.metrics.rouge import RougeConfig, row_means
from dialsum_trl.models.adapter_settings import use_adapter_settings
from dialsum_trl.models.record import read_record
from dialsum_trl.rl.pair_making import make_pairs
from dialsum_trl.stages.common.sampling import kept_samples


def check_unseen(adapter_path: str | None, train_file: str) -> None:
    """Raises InputError when the adapter's record says that it was trained on a file of this name.

    On memorized rows an adapter's samples are all good and their order means little.
    """
    if not adapter_path:
        return
    data = read_record(adapter_path).get("data")
    seen = data.get("file") if isinstance(data, dict) else None
    if data is None and (Path(adapter_path) / "trainer_state.json").exists():
        say(f"warning: {adapter_path} does not say on which rows it was trained; it may have seen these")
    if seen == Path(train_file).name:
        raise InputError(
            f"{adapter_path} was trained on {seen}: sample on rows it has not seen (--write_folds makes two halves to "
            f"train on), or allow them with --trained_rows true"
        )


def adjust(values: dict, given: set[str]) -> None:
    """The base is the adapter's; folds are written without any model."""
    if not values["write_folds"]:
        use_adapter_settings(values, given)


def run(data, prompt, model_args, rouge, decoding, args) -> dict:
    """Samples summaries of training rows and pairs them; returns the figures of the closing table."""
    if not data.train_file:
        raise InputError("no dialogues: give --train_file with rows that the adapter was not trained on")

    rows = read_dialogues(data.train_file, columns=data.columns())
    if args.write_folds:
        paths = write_folds(rows, args.write_folds, decoding.seed)
        say("train an adapter on each fold, then sample with each on the other: " + ", ".join(map(str, paths)))
        return {"folds": [str(path) for path in paths]}
    if not args.trained_rows:
        check_unseen(model_args.adapter_path, data.train_file)

    config = RougeConfig.of(rouge)
    folder = Path(args.output_dir)
    samples = kept_samples(rows, folder, args.samples, args.max_length, args.use_cpu, model_args, prompt, decoding)

    references = [row for row, texts in zip(rows["summaries"], samples, strict=True) for _ in texts]
    scores = iter(row_means([text for texts in samples for text in texts], references, config))
    pairs, dropped, told = make_pairs(
        list(rows),
        samples,
        [[next(scores) for _ in texts] for texts in samples],
        partial(row_means, config=config),
        margin=args.margin,
        tolerance=args.length_tolerance,
        reference_share=args.reference_share,
        faithfulness_share=args.faithfulness_share,
        seed=decoding.seed,
    )
    if not pairs:
        raise InputError(f"no pairs: {dict(dropped)}; lower --margin, raise --temperature or --samples")
    if is_main_process():
        write_text(folder / PAIRS_FILE, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
    kinds = Counter(pair["kind"] for pair in pairs)
    figures = {
        "dialogues": len(rows),
        "samples a dialogue": args.samples,
        **{f"pairs: {kind}": count for kind, count in kinds.most_common()},
        **{f"no pair of samples: {reason}": count for reason, count in dropped.most_common()},
        **{f"left out, recognizable by its form: {kind}": count for kind, count in told.most_common()},
        "pairs": len(pairs),
        "file": str(folder / PAIRS_FILE),
    }
    table("Preferences", list(figures.items()))
    return figures
