"""From flags to summaries: the device, the model with its adapter, and dialogues shared out among processes."""

from dataclasses import asdict

from dialsum_trl.arguments import DecodingArguments, ModelArguments, PromptArguments
from dialsum_trl.errors import InputError


def start(use_cpu: bool):
    """accelerate's state of this process: its device and its place among the others.

    Raises:
        InputError: there is no GPU and the CPU was not asked for.
    """
    from accelerate import PartialState

    state = PartialState(cpu=use_cpu)
    if state.device.type == "cpu" and not use_cpu:
        raise InputError("no GPU found: add --use_cpu true (slow for models of billions), or run on a GPU")
    return state


def load(model_args: ModelArguments, prompt: PromptArguments, decoding: DecodingArguments, device):
    """The `generation.Summarizer` that the flags name."""
    from dialsum_trl.generation import load_summarizer

    return load_summarizer(
        model_args.model_name_or_path,
        model_args.adapter_path,
        dtype=model_args.dtype,
        quantization=model_args.quantization,
        revision=model_args.model_revision,
        prompt_style=prompt.prompt_style,
        device=device,
        engine=decoding.engine,
    )


def generation_settings(decoding: DecodingArguments, max_length: int, num_return_sequences: int = 1):
    """`generation.GenerationSettings` from the flags."""
    from dialsum_trl.generation import GenerationSettings

    chosen = {key: value for key, value in asdict(decoding).items() if key != "engine"}
    return GenerationSettings(**chosen, max_length=max_length, num_return_sequences=num_return_sequences)


def summarize_sharded(summarizer, dialogues: list[str], settings, state, progress: bool = True) -> list:
    """`generation.summarize` in the order of `dialogues`; every rank takes its share and all get the whole list."""
    from accelerate.utils import gather_object

    from dialsum_trl.generation import summarize

    mine = summarize(summarizer, dialogues[state.process_index :: state.num_processes], settings, progress)
    parts = gather_object([mine])
    return [parts[i % state.num_processes][i // state.num_processes] for i in range(len(dialogues))]
