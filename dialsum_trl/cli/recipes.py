"""`dialsum recipes`: the recipes that came with the package, listed, and copied to be run and changed."""

import ast
import shutil
from pathlib import Path
from typing import Annotated

from rich.text import Text
from typer import Argument, Typer

from dialsum_trl.cli.printing import open_console, print_entry
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_writable, write_text

PACKAGE = Path(__file__).resolve().parents[1]
FOLDERS = ("recipes", "accelerate_configs")
app = Typer(help="The recipes that came with the package.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_recipes() -> None:
    """Name every recipe and what it does."""
    recipes = sorted((shipped() / "recipes").glob("*.py"))
    width = max(len(path.stem) for path in recipes) + 1
    for path in recipes:
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        print_entry(open_console(), [(path.stem, width, "bold")], Text(first))


@app.command("copy")
def copy(folder: Annotated[Path, Argument(help="Folder to copy to; it may not hold recipes already.")]) -> None:
    """Copy all recipes and accelerate configs to a folder.

    The commands of the documentation run in it.
    """
    copy_recipes(folder)
    print(f"{folder}: {' and '.join(f'{name}/' for name in FOLDERS)}; see `accelerate launch recipes/<name>.py --help`")


def shipped() -> Path:
    """The folder that holds recipes/ and accelerate_configs/: the wheel's, or the clone's."""
    return next(folder for folder in (PACKAGE / "shipped", PACKAGE.parent) if (folder / "recipes").is_dir())


def copy_recipes(folder: Path) -> None:
    """Copies recipes and accelerate configs; demo.yaml names the toy where it is installed."""
    check_writable(folder, "DIR")
    if there := next((folder / name for name in FOLDERS if (folder / name).exists()), None):
        raise InputError(f"{there}: exists; nothing is overwritten, give another folder")
    for name in FOLDERS:
        shutil.copytree(shipped() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    demo = folder / "recipes" / "demo.yaml"
    write_text(demo, demo.read_text(encoding="utf-8").replace("dialsum_trl/toy/", f"{PACKAGE}/toy/"))
