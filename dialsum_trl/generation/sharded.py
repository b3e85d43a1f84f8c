"""From flags to summaries: the device, the model with its adapter, and dialogues shared out among processes."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.journal import Journal, read
from dialsum_trl.core.launcher import launched_on_cpu
from dialsum_trl.core.settings.flags import DecodingArguments, ModelArguments, PromptArguments
from dialsum_trl.core.settings.prompt_texts import RECORDED
from dialsum_trl.core.versions import __version__
from dialsum_trl.generation.settings import GenerationSettings, Summary
from dialsum_trl.generation.summaries import summarize
from dialsum_trl.generation.summarizer import Summarizer, load_summarizer
from dialsum_trl.models.identity import adapter_identity, base_identity, digest
from dialsum_trl.prompts.prompt import PromptTexts, prompt_texts

UNFINISHED = "unfinished.jsonl"  # in output_dir while a prediction runs
JOURNAL_FORMAT = 2  # a line says which row its part starts with; in 1 its place in the file did


def start(use_cpu: bool) -> PartialState:
    """accelerate's state of this process: its device, its rank and how many there are."""
    use_cpu = use_cpu or launched_on_cpu()
    state = PartialState(cpu=use_cpu)
    if state.device.type == "cpu" and not use_cpu:
        raise InputError("no GPU found: add --use_cpu true (slow for models of billions), or run on a GPU")
    return state


def load(
    model_args: ModelArguments, prompt: PromptArguments, decoding: DecodingArguments, device: torch.device
) -> Summarizer:
    """The summarizer that the flags name."""
    return load_summarizer(
        model_args.model_name_or_path,
        model_args.adapter_path,
        **{
            name: getattr(model_args, name) for name in ("dtype", "quantization", "model_revision", "trust_remote_code")
        },
        **{name: getattr(prompt, name) for name in ("prompt_style", *RECORDED)},
        device=device,
        engine=decoding.engine,
    )


def generation_settings(
    decoding: DecodingArguments, max_length: int, num_return_sequences: int = 1
) -> GenerationSettings:
    """The settings that the flags name."""
    chosen = {key: value for key, value in asdict(decoding).items() if key != "engine"}
    return GenerationSettings(**chosen, max_length=max_length, num_return_sequences=num_return_sequences)


def identity(model_args: ModelArguments, decoding: DecodingArguments, tokenizer: PreTrainedTokenizerBase) -> dict:
    """What tells one summarizer from another, by content: a base or an adapter may have moved, or changed in place."""
    return {
        "base model": base_identity(model_args.model_name_or_path, model_args.model_revision),
        "adapter": adapter_identity(model_args.adapter_path),
        "dtype": model_args.dtype,
        "quantization": model_args.quantization,
        "engine": decoding.engine,
        "chat template": digest(tokenizer.chat_template),
        **({} if (texts := prompt_texts(tokenizer)) == PromptTexts() else {"prompt": digest(asdict(texts))}),
        "version": __version__,
    }


def summarize_sharded(
    summarizer: Summarizer,
    dialogues: list[str],
    settings: GenerationSettings,
    state: PartialState,
    progress: bool = True,
    topics: list[str | None] | None = None,
) -> list[Summary] | list[list[Summary]]:
    """`summaries.summarize`: every process takes its share, and all get the whole list in the order of `dialogues`."""
    share = slice(state.process_index, None, state.num_processes)
    mine = summarize(summarizer, dialogues[share], settings, progress, topics=topics and topics[share])
    parts = gather_object([mine])
    return [parts[i % state.num_processes][i // state.num_processes] for i in range(len(dialogues))]


def summarize_kept(
    summarizer: Summarizer,
    dialogues: list[str],
    settings: GenerationSettings,
    state: PartialState,
    folder: Path,
    depends_on: dict,
    save_every: int,
    topics: list[str | None] | None = None,
) -> tuple[list[list[Summary]], Journal]:
    """`summarize_sharded` in parts of `save_every` dialogues, each kept in `folder` as soon as it is done.

    A killed run repeats only the parts that were not kept. The parts do not depend on where it was killed, so every
    dialogue is decoded in the same batch as in an uninterrupted run, and the summaries are the same.

    Args:
        depends_on: what the summaries depend on; parts of a run that depends on anything else are not used.

    Returns:
        The summaries of each dialogue, and the journal: delete its file when the results are written.
    """
    path = folder / UNFINISHED
    depends_on = json.loads(json.dumps({**depends_on, "save_every": save_every, "journal format": JOURNAL_FORMAT}))
    if (found := read(path)) and found[0] != depends_on:
        other = ", ".join(key for key in depends_on if found[0].get(key) != depends_on[key])
        say(f"{path}: an unfinished run with other {other}; it is not used")
    journal = Journal(path, depends_on)
    starts = range(0, len(dialogues), save_every)
    lengths = {start: min(save_every, len(dialogues) - start) for start in starts}
    parts = {line["start"]: [[Summary(**each) for each in row] for row in line["summaries"]] for line in journal.done}
    if parts:
        say(f"continues after {sum(lengths[start] for start in parts)} of {len(dialogues)} dialogues")
    for start in starts:
        if start in parts:
            continue
        here = slice(start, start + save_every)
        part = summarize_sharded(summarizer, dialogues[here], settings, state, topics=topics and topics[here])
        parts[start] = part if settings.num_return_sequences > 1 else [[summary] for summary in part]
        summaries = [[asdict(summary) for summary in candidates] for candidates in parts[start]]
        journal.add({"start": start, "summaries": summaries})
    return [candidates for start in starts for candidates in parts[start]], journal
