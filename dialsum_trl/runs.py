"""A run and its folder: where it may write, what it resumes from, what it used."""

import json
from pathlib import Path

from dialsum_trl.arguments import match_precision
from dialsum_trl.console import say
from dialsum_trl.errors import InputError

RUN_FILE = "dialsum.json"  # what a run used, beside the adapter; its layout is part of the file formats we keep


def prepare_output_dir(args) -> str | None:
    """Checks `output_dir` and returns the checkpoint to resume from, or None for a fresh run.

    A checkpoint is verified before it is chosen, on the first process of the run; what a killed run left half-written
    in its own place is deleted.

    Raises:
        InputError: the folder holds an earlier run and `--resume_from_checkpoint` was not given, or there is nothing
            whole to resume from.
    """
    from dialsum_trl.resume.choose import checkpoints, choose, clear_leftovers
    from dialsum_trl.scale.topology import once

    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder}: is a file; give a folder")
    resume = args.resume_from_checkpoint
    if resume in (None, "", "false", "False"):
        if checkpoints(folder) or (folder / "adapter_config.json").exists():
            raise InputError(
                f"--output_dir {folder}: holds an earlier run; continue it with --resume_from_checkpoint true or "
                f"choose another folder (nothing is ever overwritten)"
            )
        return None

    def whole() -> str:
        chosen, lines = choose(folder, resume)
        for line in lines:
            say(line)
        clear_leftovers(folder)
        say(f"continues from {chosen}")
        return str(chosen)

    return once(whole)


def peak_memory_gib() -> float:
    """Highest GPU memory reserved by this process, GiB (0 without a GPU)."""
    import torch

    return round(torch.cuda.max_memory_reserved() / 2**30, 2) if torch.cuda.is_available() else 0.0


def adapter_settings(adapter_path: str) -> dict:
    """How an adapter was trained (base, revision, dtype, quantization, prompt style), read from its folder.

    Adapters of other tools have no run record; their `adapter_config.json` names the base.

    Raises:
        InputError: the folder is no adapter, or its files cannot be read.
    """
    folder = Path(adapter_path)
    if not folder.is_dir():
        return {}  # a Hub id: peft loads it, and the base must be named by flag or by its adapter_config
    record, config = folder / RUN_FILE, folder / "adapter_config.json"
    if not config.exists():
        raise InputError(f"--adapter_path {folder}: holds no adapter_config.json; give the folder a training run wrote")
    try:
        if record.exists():
            values = json.loads(record.read_text(encoding="utf-8"))
            names = {"base_model": "model_name_or_path", "base_revision": "model_revision"}
            wanted = ("base_model", "base_revision", "dtype", "quantization", "prompt_style")
            return {names.get(key, key): values[key] for key in wanted}
        return {"model_name_or_path": json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--adapter_path {folder}: {record.name} or {config.name} is damaged ({error})") from None


def model_settings(model_name_or_path: str) -> dict:
    """How a fully fine-tuned model was trained (dtype, quantization, prompt style); nothing for other models."""
    record = Path(model_name_or_path) / RUN_FILE
    if not record.exists():
        return {}
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
        return {key: values[key] for key in ("dtype", "quantization", "prompt_style")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--model_name_or_path {record.parent}: {record.name} is damaged ({error})") from None


def use_adapter_settings(values: dict, given: set[str]) -> None:
    """`adjust` of `parse_recipe`: what the user did not set follows the adapter, or the fully fine-tuned model.

    Raises:
        InputError: neither a model nor an adapter was named.
    """
    if values["adapter_path"]:
        values.update({k: v for k, v in adapter_settings(values["adapter_path"]).items() if k not in given})
    elif values["model_name_or_path"]:
        found = model_settings(values["model_name_or_path"])
        values.update({k: v for k, v in found.items() if k not in given})
    if not values["model_name_or_path"]:
        raise InputError("no model: give --adapter_path outputs/sft_... or --model_name_or_path for a zero-shot run")


def continue_adapter(values: dict, given: set[str]) -> None:
    """`adjust` of stages that train an SFT adapter further: base, dtype and prompt style are the adapter's.

    Raises:
        InputError: no adapter was named.
    """
    if not values["adapter_path"]:
        raise InputError("--adapter_path: give the SFT adapter to start from, outputs/sft_...")
    use_adapter_settings(values, given)
    match_precision(values, given)
