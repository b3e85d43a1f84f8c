"""Settings that follow an adapter: its base, dtype, quantization, prompt style and LoRA layers."""

import json
from dataclasses import fields

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.settings.flags import PromptArguments
from dialsum_trl.core.settings.prompt_texts import RECORDED
from dialsum_trl.models.adapters import check_adapter_values
from dialsum_trl.models.base import load_config
from dialsum_trl.models.file_names import CONFIG
from dialsum_trl.models.files import check_adapter_files, check_trainable, refuse_reward, trained_tokens
from dialsum_trl.models.hub import adapter_folder
from dialsum_trl.models.record import BASE, LOADING, recorded_settings
from dialsum_trl.models.same_base import compare_bases, find_recorded

LORA = {  # flag -> key of adapter_config.json
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_target_modules": "target_modules",
    "use_dora": "use_dora",
    "use_rslora": "use_rslora",
    "init_lora_weights": "init_lora_weights",
    "rank_pattern": "rank_pattern",
    "alpha_pattern": "alpha_pattern",
}


def adapter_settings(adapter_path: str) -> dict:
    """How an adapter was trained (base, revision, dtype, quantization, prompt style), read from its folder.

    Of a Hub id it is the folder in the Hub's cache. Adapters of other tools have no run record; their
    `adapter_config.json` names the base.

    Raises:
        InputError: the folder is no adapter, or its files are damaged, pickled or do not fit one another.
    """
    folder = adapter_folder(adapter_path)
    config = check_adapter_files(folder)
    check_adapter_values(folder)
    if values := recorded_settings(folder, (*BASE, *LOADING)):
        names = dict(zip(BASE, ("model_name_or_path", "model_revision"), strict=True))
        return {names.get(key, key): value for key, value in values.items()}
    return {"model_name_or_path": config.get("base_model_name_or_path")}


def model_settings(model_name_or_path: str) -> dict:
    """How a fully fine-tuned model was trained (dtype, quantization, prompt style); nothing for other models."""
    return recorded_settings(model_name_or_path, LOADING)


def compare_with_adapter(values: dict, given: set[str]) -> dict:
    """Compares what the settings name with what an adapter records, and says in one line each what differs.

    Args:
        values: the merged settings; `adapter_path` is set.
        given: names of the settings that are not to follow the record.

    Returns:
        `adapter_settings`; without the base's revision where another base is named, which has other revisions.

    Raises:
        InputError: the base that is named is another model than the adapter's.
    """
    adapter, found = values["adapter_path"], adapter_settings(values["adapter_path"])
    base, style = found.get("model_name_or_path"), found.get("prompt_style")
    if "model_name_or_path" in given and base:
        revision = found.get("model_revision", "main")
        same_name = values["model_name_or_path"] == base and "model_revision" not in given
        named = revision if same_name else values["model_revision"]
        compare_bases(adapter, (base, revision), (values["model_name_or_path"], named))
        if values["model_name_or_path"] != base:
            found.pop("model_revision", None)
    if "prompt_style" in given and style not in (None, values["prompt_style"]):
        say(
            f"warning: --adapter_path {adapter} was trained with --prompt_style {style} and is used with "
            f"{values['prompt_style']}: leave --prompt_style out to ask it as it was trained"
        )
    return without_given_texts(found, given)


def without_given_texts(found: dict, given: set[str]) -> dict:
    """What a record says, but for texts of the prompt that the user gives by any flag."""
    flags = {"system_prompt": set(), "instruction": {"instructions_file"}}
    return {
        name: value
        for name, value in found.items()
        if name not in flags or not given & {name, "prompt_language", *flags[name]}
    }


def _adapter_config(adapter_path: str) -> dict:
    return read_json(adapter_folder(adapter_path) / CONFIG, "give the folder that training wrote")


def follow_adapter(values: dict, given: set[str]) -> None:
    """Trains an adapter further under its own prompt style, and says so where the recipe has another.

    Raises:
        InputError: the adapter cannot be used, or its base is another one.
    """
    if not values["adapter_path"]:
        return
    found = compare_with_adapter(values, given | {"model_name_or_path"})  # the recipe's, if not the user's
    style = found.get("prompt_style", values["prompt_style"])
    if "prompt_style" not in given and style != values["prompt_style"]:
        say(f"--prompt_style {style}: --adapter_path {values['adapter_path']} was trained with it")
        values["prompt_style"] = style
    values.update({name: found[name] for name in RECORDED if name in found and name not in given})


def use_adapter_settings(values: dict, given: set[str]) -> None:
    """What the user did not set follows the adapter, or the fully fine-tuned model."""
    if values["adapter_path"]:
        found = compare_with_adapter(values, given)
        # known before a base of gigabytes is loaded
        refuse_reward(_adapter_config(values["adapter_path"]), values["adapter_path"])
        values.update({k: v for k, v in found.items() if k not in given})
        if found.get("model_name_or_path") and "model_name_or_path" not in given:
            find_recorded(values["adapter_path"], values["model_name_or_path"], values["model_revision"])
    elif values["model_name_or_path"]:
        found = without_given_texts(model_settings(values["model_name_or_path"]), given)
        values.update({k: v for k, v in found.items() if k not in given})
    if not values["model_name_or_path"]:
        raise InputError("no model: give --adapter_path outputs/sft_... or --model_name_or_path for a zero-shot run")
    trust = values.get("trust_remote_code", False)
    refuse_prompt(values["model_name_or_path"], given, values["model_revision"], trust)


def refuse_prompt(name_or_path: str, given: set[str], revision: str, trust_remote_code: bool = False) -> None:
    """Raises InputError where the user gives a prompt to an encoder-decoder."""
    flags = sorted(
        name for name in given if name.removeprefix("sweep_") in {item.name for item in fields(PromptArguments)}
    )
    if flags and load_config(name_or_path, revision, trust_remote_code).is_encoder_decoder:
        raise InputError(
            f"--{flags[0]}: {name_or_path} is an encoder-decoder, which reads the dialogue and no prompt; leave it out"
        )


def _comparable(value):
    """A LoRA setting in one form: peft writes layers in any order, patterns as dicts, nothing in several ways."""
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    value = True if value == "default" else value
    return " ".join(sorted(map(str, value))) if isinstance(value, list) else value or 0


def keep_lora(values: dict, given: set[str]) -> None:
    """Checks that an adapter can be trained further, with the LoRA settings that the user gives, if any.

    Args:
        values: the merged settings; `adapter_path` is set and was checked.
        given: names that the user set.

    Raises:
        InputError: it holds more than LoRA on linear layers, or a `--lora_` flag says otherwise and would have no
            effect.
    """
    config = _adapter_config(values["adapter_path"])
    check_trainable(adapter_folder(values["adapter_path"]), config)
    if trained_tokens(config):
        base = load_config(values["model_name_or_path"], values["model_revision"], values["trust_remote_code"])
        if base.get_text_config().tie_word_embeddings:
            raise InputError(
                f"--adapter_path {values['adapter_path']}: holds rows of tokens, which the loss does not see where "
                f"embeddings are tied, as in {values['model_name_or_path']}: `dialsum merge` it, and train a new "
                f"adapter on the merged model"
            )
    for flag in sorted(given & set(LORA)):
        asked, own = (_comparable(value) for value in (values[flag], config.get(LORA[flag])))
        if asked != own:
            raise InputError(
                f"--{flag} {asked}: --adapter_path {values['adapter_path']} is trained further with its own, {own}; "
                f"leave --{flag} out"
            )
