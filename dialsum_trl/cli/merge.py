"""`dialsum merge`: an adapter merged into its unquantized base, ready to serve, and compared with the adapter."""

import json
import re
import shlex
from pathlib import Path

from datasets import Dataset
from transformers import GenerationConfig

from dialsum_trl.core.console import say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_writable, folder_aside, write_json
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.generation.settings import GenerationSettings, Summary
from dialsum_trl.generation.summaries import summarize
from dialsum_trl.generation.summarizer import load_summarizer
from dialsum_trl.generation.vllm_engine import lora_rank_limit, vllm_problem
from dialsum_trl.metrics.rouge import compare
from dialsum_trl.models.adapter_settings import use_adapter_settings
from dialsum_trl.models.adapters import load_adapter, merge
from dialsum_trl.models.base import load_base, resize_embeddings
from dialsum_trl.models.file_names import RUN_FILE
from dialsum_trl.models.record import read_record
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.templates import TEMPLATE_VALUES
from dialsum_trl.prompts.tokenizer import load_tokenizer

DTYPES = ("bfloat16", "float16", "float32")
COMMANDS = """\
Serve it:
  vllm serve {folder} --served-model-name dialsum --max-model-len 2048
  docker run --gpus all --shm-size 1g -p 8080:80 -v {folder}:/model \\
      ghcr.io/huggingface/text-generation-inference:latest --model-id /model
Or for Ollama and llama.cpp, from the adapter:
  dialsum export {adapter} {name}-gguf --gguf q4_k_m
"""
UNMERGED = """\
Or serve the adapter on its base, without merging:
  vllm serve {base}{revision} --enable-lora --max-lora-rank {rank} --lora-modules dialsum={adapter} \\
      --max-model-len 2048
"""


def merge_adapter(
    adapter: Path,
    output: Path,
    model: str | None = None,
    dtype: str = "bfloat16",
    shard_size: str = "4GB",
    verify: str | None = None,
    rows: int = 100,
    columns: dict[str, str] | None = None,
) -> bool:
    """Writes the merged model to `output` and prints how to serve it.

    Args:
        model: base to merge into; default: the one that the adapter was trained on.
        verify: file with references; adapter and merged model summarize its first `rows` rows.
        columns: names of that file's columns, as for `data.read_dialogues`.

    Returns:
        Whether the merged model is not clearly worse (always, without `verify`).

    Raises:
        InputError: `output` exists or cannot be written, `verify` has no references, or adapter or base cannot be
            loaded.
    """
    if not re.fullmatch(r"\d+(\.\d+)?\s*[KMGT]B", shard_size, re.IGNORECASE):
        raise InputError(f"--max_shard_size {shard_size}: give a number and KB, MB, GB or TB, such as 4GB")
    settings, compared = prepare(adapter, output, model, dtype, verify, rows, columns)
    rank = write_merged(adapter, output, settings, shard_size)
    passed = compared is None or compare_merged(output, settings, compared)
    paths = {"folder": output.resolve(), "adapter": adapter.resolve(), "base": settings["model_name_or_path"]}
    typed = {name: shlex.quote(str(path)) for name, path in {**paths, "name": output.name}.items()}
    say(COMMANDS.format(**typed))
    if vllm_problem(adapter) is None:
        revision = settings["model_revision"]
        revision = "" if revision == "main" else f" --revision {shlex.quote(revision)}"
        say(UNMERGED.format(**typed, revision=revision, rank=lora_rank_limit(rank)))
    return passed


def prepare(
    adapter: Path,
    output: Path,
    model: str | None,
    dtype: str,
    verify: str | None,
    rows: int,
    columns: dict[str, str] | None,
) -> tuple[dict, Dataset | None]:
    """The settings that the adapter is loaded with and the rows to compare on: checked before minutes of work."""
    if output.exists():
        raise InputError(f"{output}: exists; nothing is overwritten, give a new folder")
    check_writable(output, "OUTPUT")
    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: must be {', '.join(DTYPES)}")
    if rows < 1:
        raise InputError(f"--rows {rows}: must be at least 1")
    compared = None
    if verify is not None:
        compared = read_dialogues(verify, columns=columns)
        compared = compared.select(range(min(rows, len(compared))))
    settings = {"adapter_path": str(adapter), "model_name_or_path": model, "model_revision": "main"}
    settings |= {"dtype": dtype, "quantization": "none", "prompt_style": "native"}
    use_adapter_settings(settings, {"model_name_or_path", "dtype"} if model else {"dtype"})
    return settings, compared


def write_merged(adapter: Path, output: Path, settings: dict, shard_size: str) -> int:
    """Merges in main memory, writes aside and renames; returns the adapter's LoRA rank."""
    name, revision, dtype = (settings[key] for key in ("model_name_or_path", "model_revision", "dtype"))
    tokenizer = load_tokenizer(name, revision, settings["prompt_style"], adapter_path=str(adapter))
    base = load_base(name, dtype=dtype, quantization="none", revision=revision)
    resize_embeddings(base, tokenizer)
    tuned = load_adapter(base, adapter, flag="adapter")
    rank = tuned.peft_config["default"].r
    merged = merge(tuned)
    merged.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stop_token_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    merged.config.use_cache = True
    tokenizer.chat_template = pin_values(tokenizer.chat_template)
    with folder_aside(output) as partial:
        merged.save_pretrained(partial, max_shard_size=shard_size)
        tokenizer.save_pretrained(partial)
        if record := read_record(adapter):  # so that it can be pushed with its card
            write_json(partial / RUN_FILE, record | {"dtype": dtype, "quantization": "none"})
    sizes = [file.stat().st_size / 2**30 for file in output.glob("*.safetensors")]
    files = f"{len(sizes)} file{'s' * (len(sizes) > 1)}"
    say(f"{output}: {adapter} merged into {name} ({dtype}, {sum(sizes):.2f} GiB in {files})")
    return rank


def pin_values(template: str) -> str:
    """The template with the values of training as defaults, for servers, which set none (Llama 3.2: today's date)."""
    for name, value in TEMPLATE_VALUES.items():
        if name in template:
            assignment = f"{{%- set {name} = {json.dumps(value)} %}}"
            template = f"{{%- if {name} is not defined %}}{assignment}{{%- endif %}}{template}"
    return template


def compare_merged(output: Path, settings: dict, rows: Dataset) -> bool:
    """Greedy summaries of both on the same rows: how many are equal, and what the difference is worth in ROUGE.

    Args:
        settings: base, adapter and how they are loaded, as arguments of `load_summarizer`.
        rows: of `data.read_dialogues`.
    """
    texts = [[summary.text for summary in each] for each in greedy_summaries(output, settings, rows)]
    result = compare(*texts, rows["summaries"][:])
    worse = result.verdict == "worse"
    found = {
        "rows": len(rows),
        "equal summaries": sum(left == right for left, right in zip(*texts, strict=True)),
        "ROUGE mean, adapter as trained": f"{result.a.mean:.2f}",
        "ROUGE mean, merged": f"{result.b.mean:.2f}",
        "difference, 95 % interval": "{:+.2f} [{:+.2f}, {:+.2f}]".format(result.delta, *result.interval),
        "verdict": "clearly worse: serve the adapter instead" if worse else "no clear loss",
    }
    table("Adapter and merged model, greedy", list(found.items()))
    return not worse


def greedy_summaries(merged: Path, settings: dict, rows: Dataset) -> list[list[Summary]]:
    """Of the adapter as trained, and of the merged model."""
    both = (settings, {"model_name_or_path": str(merged), "dtype": settings["dtype"], "quantization": "none"})
    decoding = GenerationSettings(num_beams=1)
    return [summarize(load_summarizer(**one), rows["dialogue"][:], decoding, topics=rows["topic"][:]) for one in both]
