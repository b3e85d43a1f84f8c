"""`dialsum preview`: one row exactly as the trainer gets it, token by token."""

from dataclasses import dataclass, fields
from pathlib import Path

from rich.table import Table
from rich.text import Text

from dialsum_trl.cli.printing import open_console, print_entry, print_line
from dialsum_trl.core.console import printable
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.defaults import MAX_LENGTH, SEED
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments, columns_in
from dialsum_trl.core.settings.resolve import read_recipe
from dialsum_trl.data.dialogues import iter_rows
from dialsum_trl.models.adapter_settings import follow_adapter
from dialsum_trl.prompts.chat_tokens import add_missing_chat_tokens, stop_token_ids
from dialsum_trl.prompts.prompt import encode_row
from dialsum_trl.prompts.sft_rows import choose_instructions
from dialsum_trl.prompts.shortening import Fitted
from dialsum_trl.prompts.tokenizer import tokenizer_of

PROMPT, LEARNED, DROPPED = "prompt", "learned", "dropped"
STYLES = {PROMPT: ("bright_black", "white"), LEARNED: ("green", "bright_green")}  # by turns, so that tokens show
SPECIAL = {PROMPT: "bold blue", LEARNED: "bold black on green"}


@dataclass(frozen=True)
class Piece:
    """Text of one token, or of several where one alone is no whole character."""

    text: str
    ids: tuple[int, ...]
    learned: bool
    special: bool


def show_row(recipe: Path, row: str, config: str | None, overrides: dict, list_tokens: bool = False) -> None:
    """Prints one training row of an SFT recipe.

    Args:
        row: its fname, or its number from 0 where no row has that name.
        overrides: train_file, model_name_or_path, max_length; None takes the recipe's.
        list_tokens: one line a token instead of running text.
    """
    stage, settings, given = read_recipe(recipe, config, overrides)
    if stage.name != "sft":
        raise InputError(f"{recipe}: preview shows the rows of SFT recipes, this one is for {stage.name}")
    follow_adapter(settings, given)  # as the run does
    if not settings["train_file"]:
        raise InputError("no training rows: give --train_file train.csv")
    number, source = find_row(settings, row)
    max_length = settings.get("max_length", MAX_LENGTH)
    model_args, prompt = (
        group(**{item.name: settings[item.name] for item in fields(group)})
        for group in (ModelArguments, PromptArguments)
    )
    tokenizer = tokenizer_of(model_args, prompt, settings.get("chat_template_path"))
    add_missing_chat_tokens(tokenizer)
    seed = settings.get("seed", SEED)
    shown_with = choose_instructions(number + 1, prompt.instructions, seed, tuple(prompt.instruction))[number]
    encoded, fitted = encode_row(
        tokenizer,
        source["dialogue"],
        source["summaries"][0],
        stop_token_ids(tokenizer),
        max_length,
        shown_with[0],
        source["topic"],
    )
    console, found = open_console(), pieces(tokenizer, encoded)
    learned = sum(label != -100 for label in encoded["labels"])
    total = len(encoded["input_ids"])
    print_line(
        console,
        f"row {source['fname']} (number {number} from 0): {total} tokens (at most {max_length}): {total - learned} "
        f"prompt, read and not learned, + {learned} summary, learned to its end of turn",
    )
    if fitted.dropped:
        print_line(console, f"to fit, turns were dropped from the middle: {len(fitted.dropped)}")
    if fitted.cut:
        print_line(console, "to fit, one turn was shortened in its middle")
    if len(shown_with) > 1:
        print_line(console, f"shown with the first of its {len(shown_with)} instructions")
    if (count := len(source["summaries"])) > 1:
        every = "each is a row of its own" if settings["train_references"] == "all" else "it alone is learned"
        print_line(console, f"shown with the first of its {count} references; {every}")
    console.print()
    if list_tokens:
        print_tokens(console, found)
    else:
        print_text(console, found, source["dialogue"].split("\n"), fitted)


def find_row(settings: dict, wanted: str) -> tuple[int, dict]:
    """Number and content of the training row that is called `wanted`; where none is, that has this number."""
    count, numbered = 0, None
    for number, row in enumerate(iter_rows(settings["train_file"], columns=columns_in(settings))):
        if wanted == row["fname"]:
            return number, row
        if wanted == str(number):
            numbered = number, row
        count = number + 1
    if numbered:
        return numbered
    raise InputError(f"--row {wanted}: {settings['train_file']} has the rows 0 to {count - 1}, and no such fname")


def pieces(tokenizer, encoded: dict) -> list[Piece]:
    """The row's tokens as text; tokens that share a character are shown as one."""
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    result, waiting = [], []
    pairs = list(zip(encoded["input_ids"], encoded["labels"], strict=True))
    for position, (token, label) in enumerate(pairs):
        waiting.append(token)
        text = tokenizer.decode(waiting)
        last = position + 1 == len(pairs) or (pairs[position + 1][1] == -100) != (label == -100)
        if text.endswith("\ufffd") and not last:
            continue
        result.append(Piece(text, tuple(waiting), label != -100, waiting[0] in special))
        waiting = []
    return result


def print_text(console, found: list[Piece], turns: list[str], fitted: Fitted) -> None:
    """Running text with a margin that says what each line is; dropped turns stand where they stood, struck through."""
    lines = styled_lines(found)
    prompt = "\n".join(line.plain for kind, line in lines if kind == PROMPT)
    start = prompt.find(printable(fitted.text, keep="\n"))
    first = prompt[:start].count("\n")
    for index in fitted.dropped if start >= 0 else ():
        lines.insert(first + index, (DROPPED, Text(printable(turns[index]), "strike red")))
    for kind, line in lines:
        print_entry(console, [(kind, 8, "red" if kind == DROPPED else STYLES[kind][0])], line)


def styled_lines(found: list[Piece]) -> list[tuple[str, Text]]:
    """`(prompt|learned, line)`: printable, neighbouring tokens differ in shade, special tokens are highlighted."""
    lines = [(LEARNED if found[0].learned else PROMPT, Text())]
    for index, piece in enumerate(found):
        kind = LEARNED if piece.learned else PROMPT
        if kind != lines[-1][0]:
            lines.append((kind, Text()))
        style = SPECIAL[kind] if piece.special else STYLES[kind][index % 2]
        first, *rest = printable(piece.text, keep="\n").split("\n")
        lines[-1][1].append(first, style)
        lines += [(kind, Text(part, style)) for part in rest]
    return lines


def print_tokens(console, found: list[Piece]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("id", "token", ""):
        table.add_column(name, justify="right" if name == "id" else "left")
    for piece in found:
        kind = LEARNED if piece.learned else PROMPT
        style = SPECIAL[kind] if piece.special else STYLES[kind][0]
        table.add_row(" ".join(map(str, piece.ids)), Text(repr(piece.text)[1:-1], style), kind)
    console.print(table)
