"""Every command in the README and the docs is parsed by what it calls; every link and file that they name is there."""

import ast
import re
import runpy
import shlex

import pytest
import torch
import typer
from safetensors.torch import save_file

import dialsum_trl
from dialsum_trl import train_sft
from dialsum_trl.cli.app import app
from dialsum_trl.cli.demo import NEXT
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_json
from dialsum_trl.core.settings.resolve import read_recipe, resolve
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECIPES = sorted((ROOT / "recipes").glob("*.py"))
KNOWN = ("accelerate", "dialsum", "make", "python", "pip", "git", "export", "cp", "cd", "cat", "hf", "source")


def commands(page):
    """The command lines of a page's bash blocks or a recipe's docstring: continued lines joined, comments and
    placeholders left out."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    if page.suffix == ".py":
        blocks = re.findall(
            r"^    ((?:accelerate|python) (?:.*\\\n)*.*)$", ast.get_docstring(ast.parse(text)), re.MULTILINE
        )
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            words = [word for word in shlex.split(line.split(" > ")[0], comments=True) if word != "..."]
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words.pop(0)
            if words:
                yield words


ALL = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)[:70]}")
    for page in PAGES + RECIPES
    for words in commands(page)
]


def make_adapter(folder, base):
    """What the settings of an adapter of that base, or of a reward model, are read from."""
    folder.mkdir(parents=True, exist_ok=True)
    record = dict(base_model=base, base_revision="main", dtype="bfloat16", quantization="4bit", prompt_style="native")
    write_json(folder / "dialsum.json", record)
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 1})
    save_file(
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(1, 1)},
        folder / "adapter_model.safetensors",
    )
    write_json(folder / "reward.json", {})


def parse_recipe_command(words, folder):
    """Has a recipe's own stage parse the flags, and stops there."""
    [at] = [i for i, word in enumerate(words) if re.fullmatch(r"recipes/\w+\.py", word)]
    for i, word in enumerate(words):
        if word == "--config_file":
            assert (ROOT / words[i + 1]).is_file(), words[i + 1]
        if word == "--config" and not (ROOT / words[i + 1]).exists():  # the reader's own file
            write_json(folder / words[i + 1], {"model_name_or_path": "base"})
    argv = [word for word in words[at + 1 :] if word != "--json"]  # taken by `stages.common.command`
    for name in ("recipes", "accelerate_configs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "base").mkdir()
    stage, recipe = read_recipe(ROOT / words[at]).stage, runpy.run_path(str(ROOT / words[at]))["RECIPE"]
    for path in [word for word in argv if re.fullmatch(r"outputs/\w+", word)]:
        make_adapter(folder / path, recipe.get("model_name_or_path", "base"))
    recipe |= {"use_cpu": True, "dtype": "float32"} if stage.trains else {}
    try:
        assert resolve(stage, recipe, argv)
    except SystemExit as end:
        assert end.code == 0 and {"--help", "--help_all"} & set(argv)
    except InputError as error:  # every flag was understood; a file of the reader's own is not here
        missing = [word for word in argv if not word.startswith("--") and not (folder / word).exists()]
        assert "unknown" not in str(error)
        assert any(word in str(error) for word in missing), error


@pytest.mark.parametrize("words", ALL)
def test_the_command_is_understood(words, monkeypatch, tmp_path):
    if words[0] in ("accelerate", "python") and any(re.fullmatch(r"recipes/.*\.py", word) for word in words):
        monkeypatch.chdir(tmp_path)
        parse_recipe_command(words, tmp_path)
    elif words[0] == "dialsum":
        command = typer.main.get_command(app)
        with command.make_context("dialsum", words[1:]) as context:
            assert words[1] in command.list_commands(context)
            command.get_command(context, words[1]).make_context(words[1], words[2:])
    elif words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file()
    else:
        assert words[0] in KNOWN, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_are_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:recipes|dialsum_trl|accelerate_configs|benchmarks|docs|tests)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_what_make_set_up_is_activated_before_the_first_launch():
    for text in ((ROOT / "README.md").read_text(encoding="utf-8"), NEXT):
        assert text.index("source .venv/bin/activate") < text.index("accelerate launch")


def launched(page):
    """`(words, recipe, output)` of a page's recipe commands; output as given, else the recipe's own, else None."""
    for words in commands(page):
        recipe = next((word for word in words if word.startswith("recipes/")), None)
        if recipe is not None and words[0] in ("accelerate", "python"):
            given = [words[i + 1] for i, word in enumerate(words) if word in ("--output_dir", "--output_file")]
            yield words, recipe, given[0] if given else read_recipe(ROOT / recipe).values.get("output_dir")


def test_typed_from_top_to_bottom_every_training_command_of_the_readme_finds_its_folder_free():
    folders = [output for _, recipe, output in launched(ROOT / "README.md") if recipe.startswith("recipes/sft")]
    assert len(folders) >= 3 and len(set(folders)) == len(folders)


def test_every_folder_that_the_pipeline_reads_is_made_by_a_command_before_it():
    made = {"outputs/decoding_sweep"}  # the sweep's default, which its arguments hold and not its recipe
    for words, _, output in launched(ROOT / "docs" / "pipeline.md"):
        read = {name for word in words if word != output for name in re.findall(r"outputs/\w+", word)}
        assert read <= made, (words, read - made)
        made.update(re.findall(r"outputs/\w+", output or ""))


def examples(page) -> list[str]:
    """The Python examples of a page, without those that need a model of the Hub."""
    found = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    return [example for example in found if "import torch" not in example and "PeftModel" not in example]


@pytest.mark.parametrize("page", filter(examples, PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_python_examples_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    (tmp_path / "dialsum_trl").symlink_to(ROOT / "dialsum_trl")
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in examples(page):
        exec(compile(example, page.name, "exec"), names)
    assert "dialsum_trl" in "".join(examples(page)) and len(names) > 1


def renamed() -> dict[str, str]:
    """Name elsewhere -> flag here, of the page's table."""
    page = (ROOT / "docs" / "switching.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*`) \| `--(.*?)` \|$", page.split("## What settings are called")[1], re.MULTILINE)
    return {name: flag for names, flag in rows for name in re.findall(r"`(\w+)`", names)}


@pytest.mark.parametrize(("elsewhere", "here"), renamed().items())
def test_a_name_of_another_tool_is_answered_with_the_flag_that_the_page_gives(elsewhere, here):
    with pytest.raises(InputError, match=re.escape(f"unknown setting --{elsewhere}; here it is --{here}")):
        train_sft({}, [f"--{elsewhere}", "1"])


def test_the_python_page_names_what_is_there():
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    public = set(dialsum_trl.__all__)
    assert public - {"RougeReport", "Summarizer", "Summary"} <= set(re.findall(r"\w+", page))
    assert all(hasattr(dialsum_trl, name) for name in dialsum_trl.__all__)
