"""Stages inside a pipeline: each is run once; a training goes on where it was stopped."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dialsum_trl.core.console import is_main_process, say
from dialsum_trl.core.files import write_json
from dialsum_trl.core.journal import check_same
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments
from dialsum_trl.core.settings.prompt_texts import RECORDED
from dialsum_trl.stages.common.command import StageFunction
from dialsum_trl.stages.common.sampling import free_memory
from dialsum_trl.stages.common.unread_flags import NEW_ADAPTER
from dialsum_trl.stages.predict import predict


def as_flags(model_args: ModelArguments, prompt: PromptArguments, args) -> dict[str, Any]:
    """Model and prompt of a pipeline as flags of the stages in it; `args` has `max_length` and `use_cpu`."""
    model = {name: value for name, value in asdict(model_args).items() if value not in (None, [])}
    for name in NEW_ADAPTER.split() if model_args.adapter_path else ():
        model.pop(name, None)
    texts = {name: getattr(prompt, name) for name in (*RECORDED, "prompt_style")}
    texts["speech_rules"] = prompt.speech_rules or ["none"]
    return {**model, **texts, "max_length": args.max_length, "use_cpu": args.use_cpu}


def column_flags(data: DataArguments) -> dict[str, str]:
    """The flags that name the columns of a file."""
    return {f"{role}_column": name for role, name in data.columns().items()}


def trained(stage: StageFunction, folder: Path, **settings: Any) -> dict:
    """The figures of a training in `folder`; its flags are `settings`.

    Raises:
        InputError: what the stage raises; `folder` was trained with other settings.
    """
    resume = {"resume_from_checkpoint": True} if any(folder.glob("checkpoint-*")) else {}
    return _once(stage, folder, settings, resume, lambda figures: figures)


def predicted(folder: Path, **settings: Any) -> Path:
    """`folder` with the predictions of `recipes/predict.py` and these flags."""
    adapter = {name: value for name, value in settings.items() if name not in NEW_ADAPTER.split()}
    _once(predict, folder, adapter, {}, lambda result: {})
    return folder


def _once(stage: StageFunction, folder: Path, settings: dict, more: dict, kept) -> dict:
    """What `kept` leaves of the stage's result, from its first run; a file beside `folder` says with which settings."""
    record = folder.with_name(f"{folder.name}.json")
    settings = {name: value for name, value in settings.items() if value is not None}
    asked = {name: value if isinstance(value, int | float | bool) else str(value) for name, value in settings.items()}
    if record.exists():
        found = read_json(record, "choose another --output_dir")
        check_same(f"{folder}: was made with", found["settings"], asked)
        return found["result"]
    say(f"{stage.stage.name}: {folder}")
    result = kept(stage(output_dir=folder, **settings, **more))
    free_memory()
    if is_main_process():
        write_json(record, {"settings": asked, "result": result})
    return result
