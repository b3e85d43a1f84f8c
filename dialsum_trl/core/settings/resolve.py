"""The one merger of settings: trainer defaults < stage < recipe < `--config my.yaml` < flags.

`resolve` gives a run its settings, checked; `read_recipe` shows the settings of a recipe that is not run. Unknown keys,
unknown flags and abbreviated flags are errors. Nothing heavy is imported here: `--help` of a recipe is instant.
"""

import difflib
import os
import runpy
import sys
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

from dialsum_trl.core.errors import InputError, settings_in_one_line
from dialsum_trl.core.settings.bounds import bounds_of, check_numbers
from dialsum_trl.core.settings.flags import SUMMARIZING, PredictArguments
from dialsum_trl.core.settings.parser import FlagParser
from dialsum_trl.core.settings.stage import Stage, refuse_unread
from dialsum_trl.core.settings.topology import fit_topology, use_one_gpu
from dialsum_trl.core.settings.yaml_file import as_tokens, check_config_values, defaults_of, read_config

SHARED = {item.name for group in (*SUMMARIZING, PredictArguments) for item in fields(group)}

# A flag of ours -> what TRL's scripts, axolotl, Unsloth, LLaMA-Factory and older releases of transformers call it.
OTHER_TOOLS = {
    "quantization 4bit": "load_in_4bit use_4bit qlora",
    "quantization 8bit": "load_in_8bit use_8bit",
    "quantization": "quantization_bit quantization_method",
    "dtype": "torch_dtype bnb_4bit_compute_dtype compute_dtype precision",
    "per_device_train_batch_size": "per_device_batch_size micro_batch_size per_gpu_train_batch_size",
    "effective_batch_size": "train_batch_size global_batch_size total_batch_size batch_size",
    "gradient_accumulation_steps": "gradient_accumulation grad_accum accumulate_grad_batches",
    "max_length": "cutoff_len max_seq_length max_seq_len sequence_len model_max_length max_prompt_length",
    "max_source_length": "max_length max_seq_length cutoff_len",
    "max_completion_length": "max_new_tokens response_length",
    "max_new_tokens": "max_completion_length max_tokens generation_max_length",
    "eval_strategy": "evaluation_strategy val_strategy",
    "lora_r": "lora_rank rank",
    "lora_target_modules": "lora_target target_modules lora_modules",
    "num_train_epochs": "epochs num_epochs n_epochs max_epochs",
    "learning_rate": "lr",
    "lr_scheduler_type": "lr_scheduler scheduler",
    "warmup_steps 0.1 (below 1: a share of all steps)": "warmup_ratio",
    "optim": "optimizer optim_type",
    "model_name_or_path": "model base_model model_name model_path model_id",
    "adapter_path": "adapter adapter_name_or_path peft_model_id lora_path lora_model_dir",
    "train_file": "dataset dataset_path data_path train_data train_path",
    "eval_file": "validation_file val_file eval_data eval_path dev_file val_data",
    "attn_implementation": "flash_attn flash_attention use_flash_attention_2 attn",
    "use_peft": "use_lora finetuning_type",
    "activation_checkpointing": "use_gradient_checkpointing checkpointing",
    "use_cpu": "no_cuda cpu",
    "num_beams": "beams beam_size",
    "output_dir NEW_FOLDER, for nothing is overwritten": "overwrite_output_dir",
}
# What other tools have to be told, and is so here anyway or is another recipe.
NOT_NEEDED = {
    "packing sample_packing neat_packing": "SFT packs its rows already, and other stages have no packs",
    "stage do_train do_eval do_predict predict_with_generate": "leave it out: the recipe is the stage",
    "template chat_template": "leave it out: it is the tokenizer's own, or --chat_template_path's",
    "train_on_prompt train_on_inputs mask_history train_on_responses_only completion_only_loss": (
        "leave it out: the loss is on the summary alone"
    ),
    "dataset_dir val_size val_set_size": "leave it out: rows are files, --train_file and --eval_file",
    "enable_liger_kernel use_unsloth use_unsloth_gc": "leave it out: layers are fused, unless --fast false",
    "preprocessing_num_workers dataset_num_proc overwrite_cache plot_loss": "leave it out",
}


class RecipeSettings(NamedTuple):
    """A recipe that was read and not run."""

    stage: Stage
    values: dict  # every setting that is known without the trainer's defaults
    given: set[str]  # names that the config file or the overrides set


def resolve(stage: Stage, recipe: dict, argv: list[str]) -> tuple:
    """The settings of a run, as dataclass instances.

    Args:
        recipe: the recipe's settings.
        argv: command-line tokens.

    The `adjust(values, given)` of the stage's job, if it has one, is called with the merged settings and the names that
    the user set, before the dataclasses are built, and may change the settings.

    Returns:
        One instance per group of the stage, then one of the trainer's config if the stage trains.

    Raises:
        InputError: unknown or abbreviated flag, unknown key in the config file, a value of the wrong type or out of
            its bounds, or a flag that the stage does not read.
    """
    defaults = {**stage.settings, **recipe}
    if "--help" in argv or "-h" in argv:
        _print_help(stage, defaults)
        sys.exit(0)
    config_parser = FlagParser([])
    config_parser.add_argument("--config", metavar="YAML")
    options, argv = config_parser.parse_known_args(argv)
    common, own = read_config(options.config, stage.name, stage.sections) if options.config else ({}, {})
    if stage.before:
        stage.before()
    groups = [*stage.groups, *([resolve_name(stage.trainer)] if stage.trains else [])]
    parser = FlagParser(groups)
    if "--help_all" in argv:
        parser.print_help()
        sys.exit(0)

    known = {action.dest for action in parser._actions}
    # a common key may be meant for other stages: those of the shared groups are passed over where a stage lacks them
    config = {key: value for key, value in common.items() if key not in SHARED - known} | own
    values = _parsed(parser, groups, defaults, config, f"--config {options.config}", argv)
    asked = set(own) | _names_of_flags(argv, known)
    given = set(config) | asked
    if empty := [name for name in ("output_dir", "output_file", "write_folds") if values.get(name) == ""]:
        raise InputError(f"--{empty[0]} is empty, which would be the working directory; name a place")
    _check_old_names(values, given)
    # of the user's names those of this stage alone: common keys may be meant for other stages
    refuse_unread(stage.name, stage.unread, values, asked, defaults_of(parser))
    if adjust := getattr(resolve_name(stage.job), "adjust", None):
        adjust(values, given)
    fit_topology(stage, values, given)
    return _instances(stage, groups, values, given)


def _parsed(parser: FlagParser, groups: list[type], defaults: dict, config: dict, file: str, argv: list[str]) -> dict:
    """Every flag's value: of the recipe (`defaults`), above it the config file's, above both the command line's."""
    known = {action.dest for action in parser._actions}
    for settings, where in ((defaults, "recipe"), (config, file)):
        if unknown := [key for key in settings if key not in known]:
            raise _unknown(unknown, known, where)
        if "trust_remote_code" in settings:
            raise InputError(
                f"{where}: trust_remote_code runs code of strangers and is taken from the command line only"
            )
    bounds = bounds_of(groups)
    check_config_values(parser, groups, bounds, config, file)
    tokens, nones = as_tokens({**defaults, **config})
    parser.set_defaults(**nones)
    namespace, rest = parser.parse_known_args(tokens + argv)
    if rest:
        flags = [token.split("=")[0] for token in rest if token.startswith("--")]
        raise _unknown(flags or rest[:1], {f"--{name}" for name in known}, "command line")
    values = {name: expand_home(value) for name, value in vars(namespace).items()}
    check_numbers(values, bounds, defaults_of(parser))
    return values


def _names_of_flags(argv: list[str], known: set[str]) -> set[str]:
    """The settings that command-line tokens set."""
    names = [t.removeprefix("--").split("=")[0].replace("-", "_") for t in argv if t.startswith("--")]
    return {name if name in known else name.removeprefix("no_") for name in names}


def _instances(stage: Stage, groups: list[type], values: dict, given: set[str]) -> tuple:
    """One instance per group; those that have a field `given` learn what the user set."""
    result = []
    for group in groups:
        with settings_in_one_line():
            result.append(group(**{f.name: values[f.name] for f in fields(group) if f.init}))
        if hasattr(result[-1], "given"):
            result[-1].given = frozenset(given)
    if stage.trains:
        use_one_gpu(result[-1])
    return tuple(result)


def read_recipe(path: str | Path, config: str | None = None, overrides: dict | None = None) -> RecipeSettings:
    """The settings that a recipe would start with, as far as they are known without its trainer.

    Args:
        config: the YAML file that the recipe will get.
        overrides: flags; None values are left out.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such recipe; recipes/ holds them")
    if path.suffix != ".py":
        raise InputError(f"{path}: a recipe is a .py file; settings in YAML go to --config")
    names = runpy.run_path(str(path))
    stage = next((value.stage for value in names.values() if isinstance(getattr(value, "stage", None), Stage)), None)
    if stage is None or "RECIPE" not in names:
        raise InputError(f"{path}: is no recipe; it has no RECIPE and no stage such as dialsum_trl.train_sft")
    common, own = read_config(config, stage.name, stage.sections) if config else ({}, {})
    given = common | own | {key: value for key, value in (overrides or {}).items() if value is not None}
    defaults = vars(FlagParser([*stage.groups]).parse_args([]))
    return RecipeSettings(stage, {**defaults, **stage.settings, **names["RECIPE"], **given}, set(given))


def _unknown(names: list[str], known: set[str], where: str) -> InputError:
    hints = [(name, _hint(name, known)) for name in names]
    if len(hints) == 1:
        return InputError(f"{where}: unknown setting {names[0]}; {hints[0][1]}")
    return InputError(f"{where}: unknown settings {'; '.join(f'{name} ({hint})' for name, hint in hints)}")


def _hint(name: str, known: set[str]) -> str:
    """What to do about a setting that is unknown here."""
    bare = name.removeprefix("--").replace("-", "_")
    ours = (flag for flag, theirs in OTHER_TOOLS.items() if bare in theirs.split())
    if flag := next((flag for flag in ours if {flag.split()[0], f"--{flag.split()[0]}"} & known), None):
        return f"here it is --{flag}"
    if reason := next((reason for theirs, reason in NOT_NEEDED.items() if bare in theirs.split()), None):
        return reason
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {close[0]}?" if close else "--help lists the flags"


def _print_help(stage: Stage, settings: dict) -> None:
    parser = FlagParser(list(stage.groups))
    own = {action.dest for action in parser._actions}
    parser.set_defaults(**{key: value for key, value in settings.items() if key in own})
    parser.usage = "accelerate launch %(prog)s [--config my.yaml] [--flag value ...] [--json]"
    if stage.trains:
        rest = ", ".join(f"{key}={value}" for key, value in settings.items() if key not in own)
        name = stage.trainer.removeprefix("dialsum_trl.rl.ppo_config.")
        parser.epilog = f"Every field of {name} is a flag too (--help_all lists them). This recipe sets: {rest}"
    parser.print_help()


def expand_home(value):
    """`~/data` as the folder it means: a shell writes it out at the start of a word alone, a YAML file nowhere."""
    if isinstance(value, list):
        return [expand_home(each) for each in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def _check_old_names(values: dict, given: set[str]) -> None:
    """Raises InputError where an old name of a flag would be passed over for what its new name says."""
    for old in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
        new = old.replace("gradient", "activation")
        if old in given and values[new] is not None and values[new] != values[old]:
            raise InputError(f"--{old}: is now called --{new}, which this recipe sets: give --{new}")
