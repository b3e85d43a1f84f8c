"""The rows of a run, and how they divide into steps: what every trainer starts with."""

from dialsum_trl.arguments import DataArguments
from dialsum_trl.console import say
from dialsum_trl.errors import InputError


def read_rows(data: DataArguments):
    """Train and dev rows from files or from a Hub dataset; dev may be None.

    Rows in both are an error, or left out of the training rows with `--drop_shared_rows true`; near copies and English
    originals are printed as warnings.
    """
    from dialsum_trl.corpus.contamination import contamination_warnings
    from dialsum_trl.data import check_disjoint, drop_shared, read_dialogues

    if data.dataset_name and data.train_file:
        raise InputError("--dataset_name and --train_file exclude each other")
    if data.dataset_name:
        train_source, eval_source = f"hub:{data.dataset_name}:train", f"hub:{data.dataset_name}:validation"
    else:
        train_source, eval_source = data.train_file, data.eval_file
    if not train_source:
        raise InputError("no training rows: give --train_file train.csv (fname,dialogue,summary) or --dataset_name")
    train = read_dialogues(train_source, columns=data.columns())
    dev = read_dialogues(eval_source, columns=data.columns()) if eval_source else None
    if dev is not None:
        if data.drop_shared_rows:
            train, shared = drop_shared(train, dev)
            say(f"{len(shared)} training rows that are dev rows too were left out, {len(train)} remain")
            if not len(train):
                raise InputError(f"{train_source}: every training row is a dev row too; give another --eval_file")
        check_disjoint(train, dev)
        for warning in contamination_warnings(train, dev):
            say(warning)
    return train, dev


def batch_arithmetic(args, effective_batch_size: int) -> None:
    """Derives accumulation so that an optimizer step sees `effective_batch_size` rows over all processes.

    Raises:
        InputError: the rows do not divide; the message says which batch size would.
    """
    if args.gradient_accumulation_steps > 1:  # given by the user: taken as it is
        return
    rows, world = args.per_device_train_batch_size, args.world_size
    if effective_batch_size % (rows * world):
        fits = [b for b in range(1, rows + 1) if effective_batch_size % (b * world) == 0]
        remedy = (
            f"use --per_device_train_batch_size {fits[-1]}" if fits else f"use --effective_batch_size {rows * world}"
        )
        raise InputError(
            f"{effective_batch_size} rows a step do not divide into {world} processes x {rows} rows: {remedy}"
        )
    args.gradient_accumulation_steps = effective_batch_size // (rows * world)
