"""Checkpoints are written between generations: samples are only in memory, so only there a run resumes exactly."""

from dialsum_trl.core.errors import InputError

SETTING = {"steps": "save_steps", "best": "eval_steps"}  # which one says when a checkpoint is written


def optimizer_steps_per_generation(args) -> int | None:
    """Optimizer steps per generation; None if a generation ends inside a step."""
    batches, step = args.steps_per_generation * args.num_iterations, args.gradient_accumulation_steps
    if step % batches == 0:
        return 1
    return None if batches % step else batches // step


def check_saves(args) -> None:
    """Checkpoints of a GRPOConfig (or PPOConfig) are written between generations; an epoch always ends with one.

    Raises:
        InputError: some would be in the middle of a generation.
    """
    name = SETTING.get(args.save_strategy.value)
    if name is None or (name == "eval_steps" and args.eval_strategy != "steps"):
        return
    every, given = optimizer_steps_per_generation(args), getattr(args, name)
    if every is None:
        raise InputError(
            f"--gradient_accumulation_steps {args.gradient_accumulation_steps}: a generation is learned from in "
            f"{args.steps_per_generation} x {args.num_iterations} micro-batches (--steps_per_generation x "
            f"--num_iterations), no whole number of optimizer steps, and a run resumes exactly only between "
            f"generations; use a divisor of that, or --save_strategy epoch"
        )
    if every > 1 and given % every:
        raise InputError(
            f"--{name} {given:g}: a generation is learned from in {every} optimizer steps, and a run resumes exactly "
            f"only between generations; use a multiple of {every}"
        )
