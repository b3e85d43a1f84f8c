"""`dialsum doctor`: is this machine ready, and does a recipe fit on it?"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import httpx2
import psutil
import torch
from huggingface_hub import constants, get_token
from huggingface_hub.utils import get_session
from packaging.requirements import Requirement
from rich.text import Text

from dialsum_trl.cli.printing import open_console, print_entry, print_line
from dialsum_trl.core.cards import CONTEXT_GIB, choice, has_bfloat16
from dialsum_trl.core.disk import free_gib
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import json_text
from dialsum_trl.core.settings.flags import columns_in
from dialsum_trl.core.settings.resolve import read_recipe
from dialsum_trl.models.families.registry import CHECKPOINTS, SIZED
from dialsum_trl.models.provenance import cached_commit
from dialsum_trl.training.estimate import estimate, known_shape, peak_of, row_lengths, too_slow
from dialsum_trl.training.plan.memory import GIB

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}
INSTALL = "pip install --constraint constraints.txt --editable ."
HUB_SECONDS = 5  # to wait for the Hub
DISK_FOR_RUNS, LITTLE_MEMORY, AMPLE = 5, 8, 80  # GiB


@dataclass(frozen=True)
class Check:
    """`state` is ok, warn or fail; `remedy` says what to do about the last two."""

    name: str
    state: str
    text: str
    remedy: str = ""


def examine(
    recipe: Path | None = None,
    config: str | None = None,
    train_file: str | None = None,
    columns: dict[str, str] | None = None,
    as_json: bool = False,
    model_name_or_path: str | None = None,
) -> bool:
    """Prints what was found; returns whether nothing failed.

    Args:
        columns: role -> column of `train_file`, where they differ from the recipe's.
        as_json: one JSON object on standard output.
        model_name_or_path: base model in place of the recipe's.
    """
    settings = None
    renamed = {f"{role}_column": name for role, name in (columns or {}).items()}
    flags = {"model_name_or_path": model_name_or_path, "train_file": train_file, **renamed}
    given = {"config": config, **flags}
    if recipe is None and (lost := next((name for name, value in given.items() if value is not None), None)):
        raise InputError(f"--{lost} {given[lost]}: says something of a recipe's run; name the recipe too")
    if recipe is not None:
        stage, settings, _ = read_recipe(recipe, config, flags)
    on_cpu = bool(settings and settings.get("use_cpu"))
    model = settings["model_name_or_path"] if settings else None
    findings = [*software(), *gpus(on_cpu), memory(), *disk(model), launcher(), *hub(model)]
    if settings is not None:
        findings += fits(stage.name, settings, on_cpu)
    ready = all(finding.state != "fail" for finding in findings)
    if as_json:
        print(json_text({"ready": ready, "findings": [asdict(finding) for finding in findings]}), end="")
    else:
        show(findings)
    return ready


def show(findings: list[Check]) -> None:
    """One line per finding with its remedy; states are words, so that a pipe can be searched."""
    console = open_console()
    for finding in findings:
        text = f"{finding.text}: {finding.remedy}" if finding.remedy else finding.text
        print_entry(console, [(finding.state, 5, COLOURS[finding.state]), (finding.name, 10, "bold")], Text(text))
    if failed := sum(finding.state == "fail" for finding in findings):
        print_line(console, f"not ready: {failed} failed", "bold red")
    else:
        print_line(console, "ready", "green")


def judged(name: str, good: bool, text: str, remedy: str, otherwise: str = "warn") -> Check:
    """A finding that is ok where `good`, and in the state `otherwise`, with its remedy, where not."""
    return Check(name, "ok", text) if good else Check(name, otherwise, text, remedy)


def software() -> list[Check]:
    """Python and every dependency against the bounds that this package states."""
    python = Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    try:
        requirements = [Requirement(line) for line in requires("dialsum-trl") or []]
    except PackageNotFoundError:  # a clone on PYTHONPATH: the code is there, its metadata is not
        text = "dialsum-trl is not installed here"
        return [python, Check("packages", "fail", text, f"install it: {INSTALL}")]
    wrong, shown = [], []
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing (needs {requirement.specifier})")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is outside {requirement.specifier}")
        if requirement.name in ("trl", "transformers", "peft", "bitsandbytes", "torch"):
            shown.append(f"{requirement.name} {found}")
    text = "; ".join(wrong) or ", ".join(sorted(shown))
    return [python, judged("packages", not wrong, text, f"install it again: {INSTALL}", "fail")]


def gpus(on_cpu: bool = False) -> list[Check]:
    """Each GPU: memory, bf16; without one, why."""
    if torch.cuda.is_available():
        return [_gpu(index) for index in range(torch.cuda.device_count())]
    if on_cpu:
        return [Check("gpu", "ok", "not needed: use_cpu is set")]
    if torch.accelerator.is_available():  # Apple's or Intel's
        kind = torch.accelerator.current_accelerator().type
        remedy = "the recipes run unfused there, on Apple with --quantization none; not tried"
        return [Check("gpu", "warn", f"{kind}, no NVIDIA GPU", remedy)]
    if torch.version.cuda is None:
        remedy = "install a CUDA build of torch (https://pytorch.org/get-started/locally)"
        return [Check("gpu", "fail", f"torch {torch.__version__} is a build without CUDA", remedy)]
    remedy = "check nvidia-smi and CUDA_VISIBLE_DEVICES; --config recipes/demo.yaml runs the toy without a GPU"
    return [Check("gpu", "fail", "torch sees no GPU", remedy)]


def _gpu(index: int) -> Check:
    free, total = (value / GIB for value in torch.cuda.mem_get_info(index))
    text = f"{index}: {torch.cuda.get_device_name(index)}, {free:.1f} of {total:.1f} GiB free"
    if torch.version.cuda is None:
        remedy = "the recipes run padded and unfused there; --quantization 4bit where bitsandbytes has it"
        return Check("gpu", "warn", f"{text}, ROCm", remedy)
    capability = torch.cuda.get_device_capability(index)
    bf16 = "bf16" if has_bfloat16(capability) else "no bf16, so bf16 recipes train in fp16"
    how = choice(capability)
    text = f"{text}, {bf16}, {how.attention} attention, {how.layers} layers"
    return judged("gpu", free >= 0.8 * total, text, "other processes hold the rest; nvidia-smi lists them")


def memory() -> Check:
    """Main memory that is available."""
    there = psutil.virtual_memory()
    text = f"{there.available / GIB:.1f} of {there.total / GIB:.1f} GiB available"
    remedy = "weights pass through main memory when they are loaded; free some"
    return judged("memory", there.available >= LITTLE_MEMORY * GIB, text, remedy)


def disk(model: str | None) -> Iterator[Check]:
    """Disk space for runs here, and for the base model in the Hub's cache."""
    free = free_gib(Path.cwd())
    remedy = "checkpoints may not fit; free some, or give --output_dir on another disk"
    yield judged("disk", free >= DISK_FOR_RUNS, f"{free:.0f} GiB free here", remedy)
    if not model or Path(model).is_dir():
        return
    if cached_commit(model, "main"):
        yield Check("model", "ok", f"{model} is in the Hub's cache")
        return
    place = Path(constants.HF_HUB_CACHE)
    free = free_gib(next(parent for parent in (place, *place.parents) if parent.exists()))
    needed = SIZED[model].sizes.parameters * 2 / GIB if model in SIZED else 0
    text = f"{model} is to be downloaded{f' ({needed:.0f} GiB)' if needed else ''}; the cache has {free:.0f} GiB"
    yield judged("model", free >= needed, text, "set HF_HOME to a larger disk", "fail")


def launcher() -> Check:
    """How training would be started with the GPUs there are."""
    there = Path(sys.executable).with_name("accelerate").exists() or shutil.which("accelerate") is not None
    count = torch.cuda.device_count()
    name = "ddp" if count > 1 else "single_gpu" if count else "cpu"
    command = f"accelerate launch --config_file accelerate_configs/{name}.yaml recipes/..."
    text = command if there else "the accelerate command is not found"
    return judged("launcher", there, text, "activate the environment it is in", "fail")


def hub(model: str | None) -> Iterator[Check]:
    """Whether the Hub answers, and whether there is a token: never the token itself."""
    needed = bool(model) and not Path(model).is_dir() and cached_commit(model, "main") is None
    if constants.is_offline_mode():
        yield judged("hub", not needed, "HF_HUB_OFFLINE is set", "unset it to download the model", "fail")
    else:
        try:
            get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
            yield Check("hub", "ok", f"{constants.ENDPOINT} answers")
        except httpx2.HTTPError:
            remedy = "check the network or HF_ENDPOINT; local model folders work without it"
            yield Check("hub", "fail" if needed else "warn", f"{constants.ENDPOINT} does not answer", remedy)
    there, source = get_token() is not None, "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the Hub's login"
    text = f"present (from {source})" if there else "none"
    yield judged("token", there, text, "pushes and gated models need HF_TOKEN or `hf auth login`")


def fits(stage: str, settings: dict, on_cpu: bool) -> Iterator[Check]:
    """Memory and hours of an SFT recipe on this machine's GPUs, and what to change when it does not fit."""
    if stage != "sft":
        yield Check("recipe", "ok", f"{stage}: memory and hours are estimated for SFT recipes only")
        return
    if not settings["model_name_or_path"]:
        yield Check("recipe", "fail", "the recipe has no model of its own", "give --model_name_or_path")
        return
    model, quantization, train_file = (settings[key] for key in ("model_name_or_path", "quantization", "train_file"))
    try:
        shape = known_shape(model, settings["model_revision"], settings["lora_r"], quantization)
        if shape is None:
            text = f"no estimate for {model}: it is not here, or its layers are not fused ones (docs/models.md)"
            yield Check("recipe", "warn", text, "download it first; a run finds its own plan")
            return
        lengths = row_lengths(train_file, model, columns_in(settings), settings["train_references"])
    except InputError as error:
        yield Check("recipe", "fail", str(error))
        return
    cards = range(torch.cuda.device_count())
    count = max(1, len(cards))
    # the smallest card decides
    budget = min((torch.cuda.mem_get_info(card)[0] / GIB for card in cards), default=0.0)
    if limit := settings["memory_gib"]:
        budget = min(budget or limit, limit - CONTEXT_GIB)
    result = estimate(settings, shape, lengths, budget, count)
    assumed = "" if train_file else ", assumed as in Korean DialogSum; --train_file measures"
    rows = f"{result.rows:,} rows of {result.mean_tokens:.0f} tokens{assumed}"
    yield Check("rows", "ok", f"{rows}: {result.steps:,} steps of {settings['effective_batch_size']} rows")
    rate = float(settings["learning_rate"])  # a text in YAML: 2e-5 is no number there
    new = settings["use_peft"] and not settings["adapter_path"]
    if new and (slow := too_slow(result.steps, rate)):
        yield Check("learns", "warn", *slow.split("; "))
    if on_cpu:
        return
    if not budget:
        least = f"a GPU of {result.least} GiB" if result.least else "more than one GPU has"
        ample = estimate(settings, shape, lengths, AMPLE, count)
        yield Check("fits", "ok", f"needs {least}; {_time(ample.hours())} on an H100")
    elif result.best is None:
        text = f"{model} in {quantization} does not fit into {budget:.1f} GiB (it needs {result.least or 'over 141'})"
        yield Check("fits", "fail", text, _what_fits(settings, lengths, budget, count))
    else:
        peaks = [peak_of(torch.cuda.get_device_name(card)) for card in cards]
        pace = _time(result.hours(min(peaks))) if peaks and all(peaks) else f"{_time(result.hours())} on an H100"
        text = f"about {result.best.gib:.1f} of {budget:.1f} GiB per GPU; {pace} (without evaluations)"
        yield Check("fits", "ok", text)


def _time(hours: float) -> str:
    return f"about {hours:.1f} h" if hours >= 1 else f"about {max(1, round(60 * hours))} min"


def _what_fits(settings: dict, lengths: list[int], budget: float, count: int) -> str:
    """The smallest change that would make a recipe fit; each is tried with 4-bit weights."""
    changes = {
        "--quantization 4bit": {},
        "--max_length 512 (long dialogues lose middle turns)": {"max_length": 512},
        **{
            f"--model_name_or_path {model}": {"model_name_or_path": model}
            for model, one in CHECKPOINTS.items()
            if one.recipe
        },
    }
    for text, change in changes.items():
        new = {**settings, "quantization": "4bit", **change}
        shape = known_shape(new["model_name_or_path"], "main", new["lora_r"], new["quantization"])
        if shape is not None and estimate(new, shape, lengths, budget, count).best is not None:
            return f"it would with {text}"
    return "no verified model fits; use a larger GPU"
