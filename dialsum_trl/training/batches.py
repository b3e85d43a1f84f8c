"""Rows per optimizer step: accumulation from the effective batch size, over all processes."""

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.launcher import current


def take_accumulation(values: dict, given: set[str]) -> None:
    """Has `effective_batch_size` follow an accumulation that the user gave, 1 too, over all processes."""
    if "gradient_accumulation_steps" not in given:
        return
    steps, rows = values["gradient_accumulation_steps"], values["per_device_train_batch_size"]
    world, wanted = current().processes, values["effective_batch_size"]
    if "effective_batch_size" in given and wanted != steps * rows * world:
        raise InputError(
            f"--gradient_accumulation_steps {steps} x {rows} rows x {world} processes is {steps * rows * world} rows "
            f"per step, --effective_batch_size {wanted} another number: leave one of the two out"
        )
    values["effective_batch_size"] = steps * rows * world


def batch_arithmetic(args, effective_batch_size: int) -> None:
    """Derives accumulation so that an optimizer step sees `effective_batch_size` rows over all processes."""
    if args.gradient_accumulation_steps > 1:  # given by the recipe or the user
        return
    rows, world = args.per_device_train_batch_size, args.world_size
    if effective_batch_size % (rows * world):
        fits = [b for b in range(1, rows + 1) if effective_batch_size % (b * world) == 0]
        remedy = (
            f"use --per_device_train_batch_size {fits[-1]}" if fits else f"use --effective_batch_size {rows * world}"
        )
        raise InputError(
            f"{effective_batch_size} rows per step do not divide into {world} processes x {rows} rows: {remedy}"
        )
    args.gradient_accumulation_steps = effective_batch_size // (rows * world)
