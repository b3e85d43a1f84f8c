"""`dialsum`: what needs no launcher. Each command loads the module of its flow when it runs: `--help` stays fast."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer
from typer.completion import completion_init, get_completion_script
from typer.core import TyperCommand

from dialsum_trl.cli import demo as demo_command
from dialsum_trl.cli import recipes
from dialsum_trl.core.console import quiet_libraries
from dialsum_trl.core.disk import file_problem
from dialsum_trl.core.errors import InputError, TrainingError, one_line
from dialsum_trl.core.settings.defaults import BOOTSTRAP, MAX_NEW_TOKENS
from dialsum_trl.core.settings.flags import BERTSCORE_MODEL, METRICS, MetricArguments

app = Typer(
    help="Korean dialogue summaries on TRL: look at machine, data and prompts before training, share the model after.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Adapter = Annotated[str | None, Option("--adapter_path", help="Adapter folder (or Hub id) to use.")]
Model = Annotated[str | None, Option("--model_name_or_path", help="Base model; default: the adapter's own.")]
Fname = Annotated[str | None, Option("--fname_column", help="Column that holds the row id.")]
Dialogue = Annotated[str | None, Option("--dialogue_column", help="Column that holds the dialogue.")]
Summary = Annotated[str | None, Option("--summary_column", help="Column that holds the summary.")]
Config = Annotated[str | None, Option("--config", help="The YAML that the recipe will get.")]
MaxLength = Annotated[int | None, Option("--max_length", help="Tokens of prompt + summary in training.")]
NewTokens = Annotated[int, Option("--max_new_tokens", help="Longest summary, tokens.")]
Json = Annotated[bool, Option("--json", help="One JSON object on standard output instead of text.")]
Quantization = Annotated[str | None, Option("--quantization", help="4bit, 8bit or none.")]


def columns_of(fname: str | None, dialogue: str | None, summary: str | None) -> dict[str, str]:
    """Role -> column for those that were named."""
    names = {"fname": fname, "dialogue": dialogue, "summary": summary}
    return {role: name for role, name in names.items() if name is not None}


app.add_typer(recipes.app, name="recipes")


@app.command()
def demo(
    folder: Annotated[Path, Argument(help="New folder for recipes, adapter, predictions and report.")] = Path(
        "dialsum-demo"
    ),
):
    """Run the whole pipeline on a toy: no GPU, no Hub."""
    sys.exit(demo_command.run_demo(folder))


@app.command()
def doctor(
    recipe: Annotated[Path | None, Argument(help="A recipe: adds its memory, its hours and its model.")] = None,
    config: Config = None,
    model: Annotated[str | None, Option("--model_name_or_path", help="Base model; default: the recipe's.")] = None,
    train_file: Annotated[str | None, Option("--train_file", help="Rows to estimate the hours with.")] = None,
    fname: Fname = None,
    dialogue: Dialogue = None,
    summary: Summary = None,
    cards: Annotated[bool, Option("--cards", help="A table of GPUs: dtype, attention, memory and hours.")] = False,
    as_json: Json = False,
):
    """Is this machine ready, and does a recipe fit on it?

    Versions, GPU, memory, disk, launcher and Hub; exit code 1 when something is not ready.
    """
    if cards:
        from dialsum_trl.cli.cards_table import show_cards  # loaded when its command runs

        show_cards(recipes.shipped() / "recipes")
        return
    from dialsum_trl.cli.doctor import examine  # loaded when its command runs

    sys.exit(0 if examine(recipe, config, train_file, columns_of(fname, dialogue, summary), as_json, model) else 1)


@app.command()
def check(
    files: Annotated[list[Path], Argument(help="train.csv [dev.csv test.csv]; or TSV, JSON, JSONL, Parquet, Excel.")],
    tokenizer: Annotated[str | None, Option("--tokenizer", help="Model whose tokens are counted.")] = None,
    max_length: MaxLength = None,
    fix: Annotated[Path | None, Option("--fix", help="Write a cleaned copy of the first file here.")] = None,
    fname: Fname = None,
    dialogue: Dialogue = None,
    summary: Summary = None,
    as_json: Json = False,
):
    """Look through data files before training.

    Columns, dirt, masks, turns, duplicates, leakage and lengths (in characters without --tokenizer); exit code 1 on
    what training would refuse.
    """
    from dialsum_trl.cli.check import print_check  # loaded when its command runs

    columns = columns_of(fname, dialogue, summary)
    sys.exit(0 if print_check(files, tokenizer, max_length, fix, columns, as_json=as_json) else 1)


@app.command()
def convert(
    source: Annotated[str, Argument(help="A file of rows, or hub:<dataset>[:[<configuration>:]<split>].")],
    output: Annotated[Path, Argument(help="New file: .csv, .tsv, .json, .jsonl, .parquet or .xlsx.")],
    fname: Fname = None,
    dialogue: Dialogue = None,
    summary: Summary = None,
):
    """Write rows of any format as a file with plain columns."""
    from dialsum_trl.cli.convert import convert_file  # loaded when its command runs

    convert_file(source, output, columns_of(fname, dialogue, summary))


@app.command()
def preview(
    recipe: Annotated[Path, Option("--recipe", help="An SFT recipe.")],
    row: Annotated[str, Option("--row", help="Row to show: its fname, or else its number from 0.")] = "0",
    config: Config = None,
    train_file: Annotated[str | None, Option("--train_file", help="Rows to show.")] = None,
    model: Model = None,
    max_length: MaxLength = None,
    tokens: Annotated[bool, Option("--tokens", help="List every token with its id and label.")] = False,
    fname: Fname = None,
    dialogue: Dialogue = None,
    summary: Summary = None,
):
    """Show the exact tokens that training sees in one row.

    Prompt grey, learned tokens green, dropped turns struck through; readable in a pipe too.
    """
    from dialsum_trl.cli.preview import show_row  # loaded when its command runs

    flags = {"train_file": train_file, "model_name_or_path": model, "max_length": max_length}
    flags |= {f"{role}_column": name for role, name in columns_of(fname, dialogue, summary).items()}
    show_row(recipe, row, config, flags, tokens)


@app.command()
def summarize(
    file: Annotated[Path, Argument(help="A text file with one dialogue, or - for standard input.")] = Path("-"),
    adapter: Adapter = None,
    model: Model = None,
    num_beams: Annotated[int, Option("--num_beams", help="Above 1: beam search, printed at the end.")] = 1,
    max_new_tokens: NewTokens = MAX_NEW_TOKENS,
    quantization: Quantization = None,
):
    """Summarize a file or standard input, as it is written."""
    from dialsum_trl.cli.chat import summarize_file  # loaded when its command runs

    summarize_file(file, adapter, model, quantization, num_beams, max_new_tokens)


@app.command()
def chat(
    adapter: Adapter = None,
    model: Model = None,
    max_new_tokens: NewTokens = MAX_NEW_TOKENS,
    quantization: Quantization = None,
    ui: Annotated[bool, Option("--ui", help="A page in the browser instead (needs the extra `ui`).")] = False,
    port: Annotated[int, Option("--port", help="Port of that page, on this machine only.")] = 7860,
):
    """Paste dialogues, read summaries; the model stays loaded."""
    from dialsum_trl.cli.chat import converse, open_page  # loaded when its command runs

    if ui:
        open_page(adapter, model, quantization, max_new_tokens, port)
    else:
        converse(adapter, model, quantization, max_new_tokens)


class _SeveralMetrics(TyperCommand):
    """`--metrics a b`, as the recipes take it, beside one of its own for each."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        whole: list[str] = []
        named = False
        for arg in args:
            whole += ["--metrics", arg] if named and arg in METRICS and whole[-1] != "--metrics" else [arg]
            named = arg == "--metrics" or (named and arg in METRICS)
        return super().parse_args(ctx, whole)


@app.command(cls=_SeveralMetrics)
def score(
    predictions: Annotated[Path, Argument(help="File of ids and summaries.")],
    references: Annotated[Path, Argument(help="File of ids, dialogues and summaries (or summary1..3).")],
    bootstrap: Annotated[int, Option("--bootstrap", help="Resamples of the 95 % interval.")] = BOOTSTRAP,
    fname: Fname = None,
    dialogue: Dialogue = None,
    summary: Summary = None,
    metrics: Annotated[list[str], Option("--metrics", help="rouge bertscore bleurt; all three: NIKL's total.")] = [  # noqa: B006
        "rouge"
    ],
    bertscore_model: Annotated[str, Option("--bertscore_model", help="Its folder or Hub id.")] = BERTSCORE_MODEL,
    bleurt_model: Annotated[str | None, Option("--bleurt_model", help="Folder of BLEURT-20 (docs/nikl.md).")] = None,
    as_json: Json = False,
):
    """Score summaries under every ROUGE configuration.

    One table, with 95 % intervals and the floor that a constant line reaches; BERTScore and BLEURT where they are asked
    for.
    """
    from dialsum_trl.cli.score import score_files  # loaded when its command runs

    others = MetricArguments(metrics, bertscore_model, bleurt_model)
    score_files(predictions, references, bootstrap, columns_of(fname, dialogue, summary), as_json, others)


@app.command()
def runs(
    folder: Annotated[Path, Argument(help="The folder that holds the runs' output_dirs.")] = Path("outputs"),
    as_json: Json = False,
):
    """Compare training runs: settings that differ, scores, time.

    The best first, by ROUGE on the rows that each run summarized; GPU memory too, where it was recorded.
    """
    from dialsum_trl.cli.runs import list_runs  # loaded when its command runs

    list_runs(folder, as_json)


@app.command()
def merge(
    adapter: Annotated[Path, Argument(help="The adapter folder of a training run.")],
    output: Annotated[Path, Argument(help="New folder for the merged model.")],
    model: Model = None,
    dtype: Annotated[str, Option("--dtype", help="bfloat16, float16 or float32.")] = "bfloat16",
    shard_size: Annotated[str, Option("--max_shard_size", help="Largest weight file.")] = "4GB",
    verify: Annotated[str | None, Option("--verify", help="Dev file: compare adapter and merged model.")] = None,
    rows: Annotated[int, Option("--rows", help="Rows of that file to summarize.")] = 100,
    fname: Fname = None,
    dialogue: Dialogue = None,
    summary: Summary = None,
):
    """Merge an adapter into its unquantized base for serving."""
    from dialsum_trl.cli.merge import merge_adapter  # loaded when its command runs

    columns = columns_of(fname, dialogue, summary)
    sys.exit(0 if merge_adapter(adapter, output, model, dtype, shard_size, verify, rows, columns) else 1)


@app.command()
def export(
    adapter: Annotated[Path, Argument(help="The adapter folder of a training run.")],
    output: Annotated[Path, Argument(help="New folder for the GGUF file and the Modelfile.")],
    gguf: Annotated[str, Option("--gguf", help="q4_k_m, q8_0, f16 and others of llama.cpp.")] = "q4_k_m",
    model: Model = None,
    dtype: Annotated[str, Option("--dtype", help="Of the merge before: bfloat16, float16, float32.")] = "bfloat16",
    verify: Annotated[str | None, Option("--verify", help="Dev file: score adapter, merged model and file.")] = None,
    rows: Annotated[int, Option("--rows", help="Rows of that file to summarize.")] = 100,
    fname: Fname = None,
    dialogue: Dialogue = None,
    summary: Summary = None,
):
    """Write an adapter as a GGUF file with an Ollama Modelfile.

    Needs the extra `gguf`. Exit code 1 where --verify finds the file's summaries clearly worse.
    """
    from dialsum_trl.cli.export import export_adapter  # loaded when its command runs

    columns = columns_of(fname, dialogue, summary)
    sys.exit(0 if export_adapter(adapter, output, gguf, model, dtype, verify, rows, columns) else 1)


@app.command()
def push(
    folder: Annotated[Path, Argument(help="Adapter folder of a run, or a merged model.")],
    repo_id: Annotated[str | None, Argument(help="owner/name; default: the folder's name under your user.")] = None,
    public: Annotated[bool, Option("--public", help="Visible to everybody; private otherwise.")] = False,
    base: Annotated[str | None, Option("--base", help="owner/name[@commit] of the base, where unknown.")] = None,
    scores: Annotated[Path | None, Option("--scores", help="scores.json of recipes/predict.py, for the card.")] = None,
):
    """Share an adapter or a model on the Hub, private first.

    Weights, tokenizer and a model card; the token is read from HF_TOKEN or the Hub's own login.
    """
    from dialsum_trl.sharing.push import push as push_folder  # loaded when its command runs

    push_folder(folder, repo_id, not public, base, scores)


@app.command()
def completion(shell: Annotated[str, Argument(help="bash, zsh or fish.")]):
    """Print the script that completes commands and flags in a shell.

    For bash: `source <(dialsum completion bash)`.
    """
    if shell not in ("bash", "zsh", "fish"):
        raise InputError(f"completion {shell}: must be bash, zsh or fish")
    print(get_completion_script(prog_name="dialsum", complete_var="_DIALSUM_COMPLETE", shell=shell))


def main() -> None:
    """Entry point: input errors are one line on stderr and exit code 2, failed checks and full disks exit code 1."""
    quiet_libraries()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    completion_init()  # typer calls it for its own flags alone, which are off
    try:
        app(prog_name="dialsum")
    except Exception as error:
        ours = isinstance(error, InputError | TrainingError)
        if (line := str(error) if ours else file_problem(error)) is None:
            raise
        sys.stdout.flush()
        print(f"error: {one_line(line)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
