"""A recipe read without being run: its stage and the settings it would start with."""

import runpy
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path

from dialsum_trl.arguments import (
    DataArguments,
    ModelArguments,
    PromptArguments,
    SFTArguments,
)
from dialsum_trl.errors import InputError
from dialsum_trl.settings_file import STAGES, read_config, stage_settings


def read_recipe(path: Path, config: str | None = None, overrides: dict | None = None) -> tuple[str, dict]:
    """Stage and merged settings, lowest first: defaults < stage settings < recipe < config file < overrides.

    Args:
        overrides: flags; None values are left out.

    Raises:
        InputError: the file is no recipe.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such recipe; recipes/ holds them")
    if path.suffix != ".py":
        raise InputError(f"{path}: a recipe is a .py file; settings in YAML go to --config")
    names = runpy.run_path(str(path))
    modules = {value.__module__ for value in names.values() if callable(value)}
    stage = next((stage for stage in STAGES if f"dialsum_trl.{stage}" in modules), None)
    if stage is None or "RECIPE" not in names:
        raise InputError(f"{path}: is no recipe; it has no RECIPE and no stage such as dialsum_trl.sft")
    settings = _defaults()
    settings |= vars(import_module(f"dialsum_trl.{stage}")).get(f"{stage.upper()}_SETTINGS", {})
    settings |= names["RECIPE"]
    settings |= stage_settings(read_config(config), stage) if config else {}
    return stage, settings | {key: value for key, value in (overrides or {}).items() if value is not None}


def _defaults() -> dict:
    groups = (DataArguments, PromptArguments, ModelArguments, SFTArguments)
    return {
        f.name: f.default if f.default is not MISSING else f.default_factory()
        for group in groups
        for f in fields(group)
    }
