"""Memory and hours of an SFT recipe, before it is started."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from dialsum_trl.core.cards import CONTEXT_GIB, Card, Choice, card_of, choice
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.defaults import MAX_LENGTH
from dialsum_trl.data.dialogues import iter_rows
from dialsum_trl.models.base import load_config
from dialsum_trl.models.families.registry import FAMILIES, FUSED, SIZED
from dialsum_trl.prompts.token_lengths import measure
from dialsum_trl.training.plan.memory import Plan, Shape, choices, plan
from dialsum_trl.training.plan.schedule import Schedule

# Korean DialogSum: rows, and the lengths of its prompts and summaries with the Llama 3 vocabulary (lognormal, mean)
ROWS, PROMPT_LOG_MEAN, PROMPT_LOG_DEVIATION, SUMMARY_TOKENS = 12_457, 5.527, 0.459, 45
SIZES = (6, 8, 10, 12, 16, 24, 32, 40, 48, 80, 141)  # memory sizes of GPUs, GiB
REFERENCE = 989  # dense bf16 TFLOP/s of the card that `memory` was measured on
LEAST_PATH, GOOD_PATH = 0.004, 0.02  # optimizer steps x learning rate
PLAIN_PACE = 0.44  # of the fused layers', both on packs (benchmarks/results/scaling_llama3b_2.json)


@dataclass(frozen=True)
class Estimate:
    """What a run needs.

    Attributes:
        rows: of the training file, of `mean_tokens` each.
        steps: optimizer steps of the run.
        best: the plan within the budget; None when nothing fits.
        least: the smallest card, GiB, that would do; None when none does.
    """

    rows: int
    mean_tokens: float
    steps: int
    best: Plan | None
    least: int | None

    def hours(self, peak: float = REFERENCE) -> float:
        """Hours of training on a card of `peak` TFLOP/s, at the pace that `memory` was measured with."""
        return self.steps * self.best.seconds * REFERENCE / peak / 3600


def known_shape(model: str, revision: str, rank: int, quantization: str) -> Shape | None:
    """The shape of a base from its folder, the cache or the Hub, or as `models.families` lists it.

    None when it is unknown, or its layers are not those that the plans of fused layers count.

    Raises:
        InputError: its files are damaged, name files elsewhere, or require running code.
    """
    if model in SIZED:
        checkpoint = SIZED[model]
        family = next(family for family in FAMILIES if checkpoint in family.checkpoints)
        return Shape.of_sizes(checkpoint.sizes, family, rank, quantization)
    try:
        config = load_config(model, revision)
    except InputError as error:
        if isinstance(error.__cause__, OSError):  # neither here nor on the Hub
            return None
        raise
    # such as GPTNeoXForCausalLM, which names the class of its layers
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config.get_text_config()), None)
    counted = kind is not None and FUSED.keys() & set(kind._no_split_modules or ())
    return Shape.of(config, rank, quantization) if counted else None


def row_lengths(train_file: str | None, model: str, columns: dict[str, str], references: str = "all") -> list[int]:
    """Tokens of each training row; without a file, of as many rows as Korean DialogSum has.

    Args:
        references: which of several are learned, "all" or "first".
    """
    if train_file is None:
        draw = np.random.default_rng(0)
        prompts = draw.lognormal(PROMPT_LOG_MEAN, PROMPT_LOG_DEVIATION, ROWS)
        return [int(length) + SUMMARY_TOKENS for length in prompts]
    how = measure(model)
    rows = list(iter_rows(train_file, columns=columns))
    pairs = [(row["dialogue"], text) for row in rows for text in row["summaries"][: None if references == "all" else 1]]
    return how.both([dialogue for dialogue, _ in pairs], [text for _, text in pairs])


@lru_cache(maxsize=8)
def largest_packs(lengths: tuple[int, ...], rows_per_step: int, processes: int) -> dict[int, int]:
    """Tokens of the largest pack in the first epoch for each number of micro-batches that a step may have."""
    counts = choices(rows_per_step // processes)
    return {count: Schedule(list(lengths), rows_per_step, count * processes, processes).largest(1) for count in counts}


def estimate(settings: dict, shape: Shape, lengths: list[int], budget: float, processes: int = 1) -> Estimate:
    """The plan that fits `budget` GiB per GPU, and the smallest card that any plan fits.

    Args:
        settings: of the recipe; effective_batch_size, max_length and num_train_epochs count.
        lengths: tokens of each row before shortening.
    """
    rows_per_step, epochs = settings["effective_batch_size"], settings.get("num_train_epochs", 3)
    lengths = [min(length, settings.get("max_length", MAX_LENGTH)) for length in lengths]
    tokens = largest_packs(tuple(lengths), rows_per_step, processes)

    def fits(gib: float) -> Plan | None:
        return plan(shape, tokens.__getitem__, list(tokens), gib)

    steps = settings.get("max_steps", -1)
    if steps <= 0:
        steps = max(1, round(-(-len(lengths) // rows_per_step) * epochs))
    least = next((card for card in SIZES if fits(card - CONTEXT_GIB)), None)
    return Estimate(len(lengths), sum(lengths) / len(lengths), steps, fits(budget), least)


def too_slow(steps: int, rate: float) -> str | None:
    """Why a new adapter will learn next to nothing in so many steps, with a rate that would do; None where it may.

    Adam moves a weight by about the rate in a step, and LoRA's B starts at 0. 72 steps of 2e-5 (together 0.0014) taught
    a model of 135M parameters nothing, 115 of 2e-4 (0.023) did; the recipes' 585 of 2e-5 on Korean DialogSum are 0.012.
    """
    if steps * rate >= LEAST_PATH:
        return None
    return (
        f"{steps} steps at --learning_rate {rate:g} move a weight by at most {steps * rate:.1g}, and a new adapter "
        f"starts at 0; try --learning_rate {min(GOOD_PATH / steps, 2e-3):.0e}, or more epochs"
    )


def peak_of(device_name: str) -> float | None:
    """Dense half-precision TFLOP/s of a card by its name, or None."""
    card = card_of(device_name)
    return card.tflops if card else None


@dataclass(frozen=True)
class OnCard:
    """What a recipe gets on `count` equal cards: `plan` is None where it does not fit; `hours` are an estimate."""

    card: Card
    count: int
    choice: Choice
    plan: Plan | None
    hours: float | None


def on_card(card: Card, settings: dict, shape: Shape, lengths: list[int], count: int = 1) -> OnCard:
    """A recipe on free cards under DDP, CUDA's context and a display counted in; a plan is of each."""
    chosen = choice(card.capability, settings["dtype"], shape.head_dim)
    found = estimate(settings, shape, lengths, card.free_gib, count)
    if found.best is None:
        return OnCard(card, count, chosen, None, None)
    pace = 1.0 if chosen.layers == "fused" else PLAIN_PACE
    return OnCard(card, count, chosen, found.best, found.hours(card.tflops) / pace)
