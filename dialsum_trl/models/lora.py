"""New LoRA adapters: their settings from the flags, the layers that get them, variants of LoRA, their first weights."""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from peft import EvaConfig, LoraConfig, PeftModel, get_peft_model, initialize_lora_eva_weights
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_json
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.launcher import current
from dialsum_trl.core.settings.defaults import LORA_TARGETS
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.file_names import CONFIG, WEIGHTS
from dialsum_trl.models.files import CHANGE_THE_BASE
from dialsum_trl.models.pretrained import reason

ALL_LINEAR = "all-linear"


def lora_config(
    args: ModelArguments,
    task_type: str = "CAUSAL_LM",
    added: list[int] | None = None,
    base: PreTrainedModel | None = None,
    **kwargs,
) -> LoraConfig:
    """LoRA settings from the flags.

    Args:
        base: what gets them: its own layers (`lora_targets`), of a multimodal one the language model alone, and without
            dropout where its experts are parameters, which peft cannot give one.
        added: ids of added chat tokens, whose embedding rows are trained too (they start random).
        kwargs: other fields of `LoraConfig`.
    """
    targets, dropout = args.lora_target_modules, args.lora_dropout
    if base is not None:
        targets = lora_targets(base, targets)
        if dropout and experts_get_lora(base, targets):
            say("no LoRA dropout: the model's experts are parameters, for which peft has none (--lora_dropout 0)")
            dropout = 0.0
    return LoraConfig(
        r=args.lora_r,
        lora_alpha=args.lora_alpha,
        lora_dropout=dropout,
        use_dora=args.use_dora,
        use_rslora=args.use_rslora,
        init_lora_weights=True if args.init_lora_weights == "default" else args.init_lora_weights,
        eva_config=EvaConfig(rho=1.0) if args.init_lora_weights == "eva" else None,  # 1: the rank of a layer stays
        rank_pattern=args.rank_pattern or {},
        alpha_pattern=args.alpha_pattern or {},
        exclude_modules=beside_the_text(base) if base is not None else None,
        target_modules=targets,
        bias="none",
        task_type=task_type,
        trainable_token_indices={"embed_tokens": added} if added else None,
        **kwargs,
    )


def add_lora(base: PreTrainedModel, args: ModelArguments, **settings) -> PeftModel:
    """The base with a new adapter.

    Args:
        settings: what `lora_config` takes beyond the flags.

    Raises:
        InputError: the model lacks the layers that are to get LoRA, or a key of a pattern names none of them; or the
            first weights would change a base that is quantized or split between processes.
    """
    first = args.init_lora_weights
    if first in CHANGE_THE_BASE and args.quantization != "none":
        raise InputError(
            f"--init_lora_weights {first}: changes the base's weights, which quantization would round again: give "
            f"--quantization none, or leave it out"
        )
    if first != "default" and current().shards_weights:
        raise InputError(
            f"--init_lora_weights {first}: needs the base's whole weights, and {current().kind} splits them: leave it "
            f"out, or train with accelerate_configs/ddp.yaml"
        )
    config = lora_config(args, base=base, **settings)
    try:
        model = get_peft_model(base, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"no adapter with these settings fits the model: {reason(error)} Change --lora_target_modules, --lora_r, "
            f"--use_dora or --init_lora_weights"
        ) from error
    for flag in ("rank_pattern", "alpha_pattern"):
        for key in getattr(args, flag) or {}:
            if not any(re.search(rf"(^|\.)({key})$", name) for name in model.targeted_module_names):
                raise InputError(
                    f"--{flag} {key}: names none of the layers with LoRA, such as {model.targeted_module_names[0]}"
                )
    return model


def lora_targets(base: PreTrainedModel, asked: list[str]) -> list[str]:
    """The names of the linear layers that get LoRA: `asked`, or the model's own.

    Those are all linear layers of the decoder without towers, routers and heads: for `all-linear`, and for the flag's
    default where an architecture names its layers otherwise.
    """
    decoder, head = base.get_decoder(), base.get_output_embeddings()
    # of a multimodal model those of its language model: nothing else gets LoRA
    text = base if base.config.get_text_config() is base.config else decoder
    everywhere = {name: module for name, module in text.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)}
    inside = {id(module) for module in decoder.modules() if module is not head}
    own = sorted({name.rsplit(".", 1)[-1] for name, module in everywhere.items() if id(module) in inside})
    own = [name for name in own if _applies_lora(base, name)]
    if asked == [ALL_LINEAR]:
        return own
    missing = [target for target in asked if not any(f".{name}".endswith(f".{target}") for name in everywhere)]
    if not missing or (missing != asked and experts_get_lora(base, asked)):
        return asked
    if asked != list(LORA_TARGETS) or not own:
        there = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in everywhere}))
        raise InputError(f"--lora_target_modules {' '.join(missing)}: the model has no such layers; it has {there}")
    return own


def _applies_lora(base: PreTrainedModel, name: str) -> bool:
    """Whether layers of that name compute through their module: state-space layers hand some weights to a kernel."""
    try:
        _check_lora_target_modules_mamba(LoraConfig(), base, name)
    except ValueError:
        return False
    return True


def beside_the_text(base: PreTrainedModel) -> str | None:
    """A regular expression of the modules outside a multimodal base's language model; None for a base of text alone.

    Text never reaches a vision or an audio tower: adapters there would get no gradient, which several processes wait
    for in vain.
    """
    text = next((name for name, module in base.named_modules() if module is base.get_decoder()), "")
    if base.config.get_text_config() is base.config or "." not in text:
        return None
    path = text.split(".")
    above = {".".join(path[:depth]) for depth in range(len(path) + 1)}
    beside = [
        name
        for name, module in base.named_modules()
        if name not in above
        and name.rpartition(".")[0] in above - {text}
        and module is not base.get_output_embeddings()
    ]
    return rf"({'|'.join(re.escape(name) for name in beside)})(\..*)?" if beside else None


def experts_get_lora(base: PreTrainedModel, targets: list[str]) -> bool:
    """Whether peft gives the experts of a mixture LoRA as parameters: it renames the targets of older versions so."""
    found = LoraConfig(target_modules=list(targets))
    try:
        convert_peft_config_for_transformers(found, model=base, conversions=None)
    except ValueError:  # a part of the fused targets, which peft refuses in its own words
        return False
    return bool(found.target_parameters)


def start_from_rows(model: PeftModel, rows: Iterable[dict], pad_id: int, batch_size: int) -> None:
    """EVA's first weights: A spans the directions in which the layers' inputs vary most on these rows.

    Args:
        rows: with "input_ids"; as many are read as it takes to converge.
    """

    def batch(part: list[dict]) -> dict[str, torch.Tensor]:
        ids = [torch.tensor(row["input_ids"]) for row in part]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad_id)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
        return {"input_ids": padded.to(model.device), "attention_mask": mask.to(model.device)}

    loader = DataLoader(rows, batch_size, collate_fn=batch)
    initialize_lora_eva_weights(model, loader, gather_distributed_inputs=False, show_progress_bar=False)
    config = model.peft_config["default"]
    config.init_lora_weights, config.eva_config = True, None  # from here on plain LoRA, whose weights are saved


def as_plain_lora(folder: Path, start: dict[str, torch.Tensor]) -> None:
    """Rewrites a saved PiSSA or OLoRA adapter as LoRA of twice the rank on the untouched base: BA - B0 A0.

    Every tool that takes LoRA takes it, and several adapters can share the base.

    Args:
        start: the adapter's first tensors, by their names in the file.
    """
    tensors, config = load_file(folder / WEIGHTS), read_json(folder / CONFIG, "train again")
    for name, tensor in tensors.items():
        first = start[name].to(tensor)
        if "lora_A" in name:
            tensors[name] = torch.cat([tensor, first], dim=0)
        elif "lora_B" in name:
            tensors[name] = torch.cat([tensor, -first], dim=1)
    growth = 2**0.5 if config["use_rslora"] else 2  # the factor alpha / r, or alpha / sqrt(r), stays
    config["alpha_pattern"] = {key: alpha * growth for key, alpha in (config["alpha_pattern"] or {}).items()}
    config["rank_pattern"] = {key: 2 * rank for key, rank in (config["rank_pattern"] or {}).items()}
    config |= {"r": 2 * config["r"], "lora_alpha": config["lora_alpha"] * growth, "init_lora_weights": True}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    write_json(folder / CONFIG, config)
