"""Saving an adapter that loads elsewhere, and sharing it: the adapter, its tokenizer and nothing else."""

import hashlib
import json
import time
from pathlib import Path

from dialsum_trl.console import is_main_process, say
from dialsum_trl.errors import InputError, TrainingError
from dialsum_trl.runs import RUN_FILE


REPORTED_METRICS = (
    "eval_loss",
    "eval_rouge_mean",
    "eval_rouge1",
    "eval_rouge2",
    "eval_rougeL",
    "eval_hit_limit",
)
SHARED_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "README.md",
    RUN_FILE,
)


def versions() -> dict[str, str]:
    """Versions of the packages a result depends on."""
    from importlib.metadata import version

    names = ("dialsum-trl", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets")
    return {name: version(name) for name in names}


def run_record(tokenizer, model_args, prompt, metrics: dict) -> dict:
    """What is needed to use the adapter as it was trained: base, prompt style, template hash, metrics, versions."""
    return {
        "base_model": model_args.model_name_or_path,
        "base_revision": model_args.model_revision,
        "dtype": model_args.dtype,
        "quantization": model_args.quantization,
        "prompt_style": prompt.prompt_style,
        "instructions": prompt.instructions,
        "template_sha256": hashlib.sha256(tokenizer.chat_template.encode()).hexdigest(),
        "metrics": {key: value for key, value in metrics.items() if key in REPORTED_METRICS},
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def check_adapter(folder: str | Path) -> int:
    """Checks that a saved adapter is whole: LoRA pairs of matching shapes, finite, with some non-zero B.

    Returns:
        The number of tensors.

    Raises:
        TrainingError: it is not (ZeRO-3 can save a file of 40 bytes).
    """
    import torch
    from safetensors import safe_open

    path = Path(folder) / "adapter_model.safetensors"
    trained = 0
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        for name in names:
            tensor = file.get_tensor(name)
            if tensor.numel() == 0 or not torch.isfinite(tensor).all():
                raise TrainingError(f"{path}: {name} is empty or not finite; the adapter was not saved whole")
            if "lora_B" in name:
                a = file.get_slice(name.replace("lora_B", "lora_A")).get_shape()
                if a[0] != tensor.shape[1]:
                    raise TrainingError(f"{path}: {name} {tuple(tensor.shape)} does not fit its lora_A {tuple(a)}")
                trained += bool(tensor.any())
    if not trained:
        raise TrainingError(f"{path}: every lora_B is zero; the adapter learned nothing")
    return len(names)


def save_adapter(trainer, tokenizer, model_args, prompt, metrics: dict) -> None:
    """Writes the trainer's model (adapter, or full weights), the tokenizer and the run record to `output_dir`."""
    folder = Path(trainer.args.output_dir)
    trainer.save_model(str(folder))
    if not is_main_process():
        return
    tokenizer.save_pretrained(str(folder))
    record = run_record(tokenizer, model_args, prompt, metrics)
    (folder / RUN_FILE).write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if model_args.use_peft:
        check_adapter(folder)


def push(folder: str | Path, repo_id: str | None, private: bool = True) -> str | None:
    """Uploads an adapter folder to the Hub; private unless asked otherwise.

    The token comes from the environment or the Hub's own login. Only `SHARED_FILES` travel.

    Returns:
        The address of the repository (None on other ranks).

    Raises:
        InputError: there is no adapter, or the Hub refused; the local folder is untouched.
    """
    if not is_main_process():
        return None
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    folder = Path(folder)
    if not (folder / "adapter_config.json").exists():
        raise InputError(f"{folder}: holds no adapter to push (adapter_config.json is missing)")
    api = HfApi()
    try:
        repo_id = api.create_repo(repo_id or folder.name, private=private, exist_ok=True).repo_id
        api.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=list(SHARED_FILES))
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"push of {folder} to {repo_id or folder.name} failed: {reason} The adapter is safe in {folder}; check "
            f"HF_TOKEN and the network, then push again"
        ) from error
    say(f"pushed {folder} to {repo_id} ({'private' if private else 'public'})")
    return repo_id
