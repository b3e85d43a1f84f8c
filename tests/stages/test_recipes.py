"""Recipes show their settings, and what they show is what their stages default to."""

import runpy

import pytest

from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.core.settings.yaml_file import read_config
from dialsum_trl.rl.ppo_config import PPOConfig
from dialsum_trl.stages.common.command import STAGES
from tests.conftest import ROOT

RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.py"))
SFT = [path for path in RECIPES if path.name.startswith("sft")]
OWN = {"model_name_or_path", "dtype", "output_dir"}
DESIGN = dict(  # the design document's settings, verified there on four models
    lora_r=16, lora_alpha=32, lora_dropout=0.05, num_train_epochs=3, per_device_train_batch_size=8,
    effective_batch_size=64, learning_rate=2e-5, lr_scheduler_type="cosine", warmup_steps=0.1,
    optim="paged_adamw_32bit", max_grad_norm=1.2, weight_decay=0.1, max_length=1024, quantization="4bit",
    eval_strategy="epoch", metric_for_best_model="eval_loss", save_total_limit=2,
    lora_target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
)  # fmt: skip


def read(path) -> tuple[Stage, dict]:
    names = runpy.run_path(str(path))
    return next(value.stage for value in names.values() if hasattr(value, "stage")), names["RECIPE"]


@pytest.mark.parametrize("path", SFT, ids=lambda path: path.stem)
def test_the_sft_recipes_hold_the_designs_settings(path):
    _, recipe = read(path)
    assert {name: recipe[name] for name in DESIGN} == DESIGN
    own = "auto" if path.stem == "sft" else "bfloat16"
    assert recipe["dtype"] == ("float16" if "qwen" in path.stem else own)


def test_the_sft_recipes_differ_in_model_dtype_and_folder_alone():
    first, *others = ({k: v for k, v in read(path)[1].items() if k not in OWN} for path in SFT)
    assert len(others) == 4 and all(other == first for other in others)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_setting_that_a_recipe_shows_is_its_stages_default_too(path):
    """So that the same stage called from Python without a recipe trains alike."""
    stage, recipe = read(path)
    assert {name: recipe[name] for name in recipe.keys() & stage.settings.keys()} == {
        name: stage.settings[name] for name in recipe.keys() & stage.settings.keys()
    }


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_uses_the_public_functions_alone(path):
    imports = [line for line in path.read_text(encoding="utf-8").splitlines() if "import" in line and "dialsum" in line]
    assert len(imports) == 1 and imports[0].startswith("from dialsum_trl import ")


def test_ppo_shows_the_defaults_of_its_config():
    _, recipe = read(ROOT / "recipes" / "ppo.py")
    fields = PPOConfig.__dataclass_fields__
    for name in ("rollout_batch_size", "ppo_epochs", "kl_coef", "kl_target", "critic_learning_rate"):
        assert recipe[name] == fields[name].default


@pytest.mark.parametrize("name", ["preferences", "reward", "ppo", "dpo", "grpo"])
def test_the_demo_configures_every_stage(name):
    common, own = read_config(str(ROOT / "recipes" / "demo.yaml"), name, STAGES)
    config = common | own
    assert config["adapter_path"] == "outputs/demo/sft" and config["output_dir"] == f"outputs/demo/{name}"
