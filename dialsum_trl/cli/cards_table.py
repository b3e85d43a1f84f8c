"""`dialsum doctor --cards`: how the recipes run on the GPUs that people own, by the rules that the runs follow."""

from pathlib import Path

from dialsum_trl.cli.printing import open_console
from dialsum_trl.core.cards import CARDS, Choice
from dialsum_trl.core.settings.resolve import read_recipe
from dialsum_trl.training.estimate import OnCard, known_shape, on_card, row_lengths

RECIPES = ("sft_llama3b", "sft_qwen3_4b", "sft_qwen25_7b", "sft_llama8b")
KAGGLE = [(card, 2) for card in CARDS if card.name == "T4"]
NOTE = (
    "Memory and hours are estimates for three epochs of Korean DialogSum: the pace on an H100, scaled by the TFLOP/s "
    "that the card's vendor states. They were not measured on these cards."
)


def rows(folder: Path) -> list[tuple[OnCard, ...]]:
    """One row per card and one for Kaggle's two, one entry per recipe of `folder`."""
    lengths = row_lengths(None, "", {})
    recipes = []
    for name in RECIPES:
        settings = read_recipe(folder / f"{name}.py", None, {}).values
        shape = known_shape(settings["model_name_or_path"], "main", settings["lora_r"], settings["quantization"])
        recipes.append((settings, shape))
    machines = [(card, 1) for card in CARDS] + KAGGLE
    return [tuple(on_card(card, *recipe, lengths, count) for recipe in recipes) for card, count in machines]


def chosen(choice: Choice) -> str:
    """A choice in words."""
    short = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}[choice.dtype]
    return f"{short}, {choice.attention} attention, {choice.layers} layers"


def fit(entry: OnCard) -> str:
    """Memory and time of a recipe on a card; plain layers have no plan of their memory."""
    if entry.plan is None:
        return "no"
    time = f"~{entry.hours:.1f} h" if entry.hours >= 1 else f"~{max(1, round(60 * entry.hours))} min"
    return f"{entry.plan.gib:.1f} GiB, {time}" if entry.choice.layers == "fused" else time


def show_cards(folder: Path) -> None:
    """Prints a Markdown table."""
    console = open_console()
    head = ["card", "GiB", "capability", "bf16 recipes run in", *RECIPES]
    console.print(" | ".join(head), soft_wrap=True)
    console.print(" | ".join(["---"] * len(head)), soft_wrap=True)
    for entries in rows(folder):
        card = entries[0].card
        which = "{}.{}".format(*card.capability)
        bf16 = chosen(entries[0].choice)
        name = card.name if entries[0].count == 1 else f"{entries[0].count} x {card.name}"
        console.print(" | ".join([name, f"{card.gib:.1f}", which, bf16, *map(fit, entries)]), soft_wrap=True)
    console.print(NOTE, soft_wrap=True)
