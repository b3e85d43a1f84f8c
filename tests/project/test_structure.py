"""The shape of the source: layers that hold, imports in view, a light side that stays light."""

import json
import subprocess
import sys

import pytest

from benchmarks.graphs import circles, upward
from benchmarks.source_tree import Source, unit
from benchmarks.structure import figures
from tests.conftest import ROOT

HEAVY = [
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "safetensors",
    "deepspeed",
    "triton",
    "vllm",
]
RECIPES = sorted(path.name for path in (ROOT / "recipes").glob("*.py"))
STAGES = sorted(path.stem for path in (ROOT / "dialsum_trl" / "stages").glob("*.py") if path.stem != "__init__")

LIGHT = [f"stages.{stage}" for stage in STAGES] + ["cli.app", "cli.check", "cli.score"]
TOY = ROOT / "dialsum_trl" / "toy" / "data"

# Where a light file loads a heavy one: `file: files that it may load inside a function`.
BOUNDARIES = {
    **{f"stages.{stage}": {f"stages.jobs.{stage}", f"stages.pipelines.{stage}"} for stage in STAGES},
    "cli.app": {
        *(
            f"cli.{name}"
            for name in (
                "cards_table",
                "chat",
                "check",
                "convert",
                "doctor",
                "export",
                "merge",
                "preview",
                "runs",
                "score",
            )
        ),
        "sharing.push",
    },
    "cli.check": {"cli.check_tokens"},
    "cli.score": {"generation.model_scores"},
    # Triton is not everywhere: loaded where the device is CUDA
    "kernels.fused.layer": {"kernels.fused.triton_ops"},
    "generation.slots": {"kernels.slot_attention"},
}


@pytest.fixture(scope="module")
def source():
    return Source(ROOT)


def heavy_modules(program: str, *argv: str, heavy: list[str] = HEAVY) -> list[str]:
    """The heavy libraries that a program has loaded when it ends, in an interpreter of its own."""
    code = (
        f"import json, sys\nsys.argv = {list(argv)!r}\ntry:\n    {program}\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_contract_of_the_layers_is_kept():
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_contract_ignores_an_import():
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_imports_of_folders_run_down_and_no_files_import_one_another(source):
    assert not upward(source.unit_graph(), source.layers())
    assert not circles(source.file_graph())


def test_every_folder_has_its_layer(source):
    assert {unit(name) for name in source.modules} <= set.union(*source.layers())


def test_imports_of_our_own_stand_at_the_top_but_for_the_boundaries(source):
    beyond = [
        f"{each.file}:{each.line} imports {each.target}"
        for each in source.hidden()
        if each.target.removeprefix("dialsum_trl.") not in BOUNDARIES.get(each.file.removeprefix("dialsum_trl."), ())
    ]
    assert not beyond


def test_an_import_inside_a_function_has_its_reason_beside_it(source):
    assert not [f"{each.file}:{each.line} imports {each.target}" for each in source.hidden() if not each.reason]


def test_at_most_five_in_a_hundred_imports_of_our_own_stand_inside_a_function(source):
    assert len(source.hidden()) <= 0.05 * len(source.own_imports)


def test_at_most_four_classes_of_ours_are_in_a_trainers_mro_itself_among_them(source):
    towers = {name: [name, *classes] for name, classes in source.own_classes().items()}
    assert {"DPOTrainer", "GRPOTrainer", "PPOTrainer", "RewardTrainer", "Seq2SeqTrainer", "SFTTrainer"} <= set(towers)
    assert {name: classes for name, classes in towers.items() if len(classes) > 4} == {}


def test_what_a_bad_source_does_wrong_is_found(tmp_path):
    files = {
        "core.py": "def late():\n    from dialsum_trl.stages import first  # hidden",
        "stages.py": "from dialsum_trl.core import late\nimport torch\nfrom dialsum_trl import data, parts",
        "data.py": "def f(a: int, b): raise ValueError",
        "parts.py": "from dialsum_trl.core import late\nclass Part: ...\nclass More(Part): ...",
        "sft.py": "def make():\n    import trl\n    from dialsum_trl.parts import More\n"
        "    class Ours(More, trl.SFTTrainer): ...",
    }
    (tmp_path / "dialsum_trl").mkdir()
    for name, text in files.items():
        (tmp_path / "dialsum_trl" / name).write_text(text)
    (tmp_path / "pyproject.toml").write_text("")
    found = figures(Source(tmp_path))
    assert found["upward"] == ["dialsum_trl.core -> dialsum_trl.stages"] and found["upward_imports"] == 1
    assert found["knots"] == found["file_circles"] == [["dialsum_trl.core", "dialsum_trl.parts", "dialsum_trl.stages"]]
    assert found["levels"] == 3  # stages and sft, parts, core
    assert found["mro"] == {"Ours": ["More", "Part"]}
    assert (found["own_imports"], found["own_imports_in_functions"]) == (6, 2)
    assert found["in_functions"][0] == "dialsum_trl.core:2 dialsum_trl.stages  # hidden"


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_of_a_recipe_loads_nothing_heavy(recipe):
    path = str(ROOT / "recipes" / recipe)
    heavy = [*HEAVY, "datasets", "pandas"]
    assert (
        heavy_modules(f"import runpy; runpy.run_path({path!r}, run_name='__main__')", path, "--help", heavy=heavy) == []
    )


@pytest.mark.parametrize(
    ("words", "besides"),
    [
        (("--help",), ["datasets", "huggingface_hub", "numpy"]),
        (("check", TOY / "train.csv", TOY / "dev.csv"), ["datasets", "huggingface_hub", "numpy"]),
        (("score", TOY / "dev.csv", TOY / "dev.csv", "--bootstrap", "20"), []),
    ],
    ids=lambda value: value[0] if value else "",
)
def test_help_check_and_score_load_nothing_heavy(words, besides):
    argv = ("dialsum", *map(str, words))
    assert heavy_modules("from dialsum_trl.cli.app import main; main()", *argv, heavy=[*HEAVY, *besides]) == []


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_nothing_heavy(module):
    assert heavy_modules(f"import dialsum_trl.{module}") == []
