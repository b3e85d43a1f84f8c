"""Base model or adapter + a file of dialogues -> summaries, scores and `submission.csv`."""

import json
from dataclasses import asdict
from pathlib import Path

from dialsum_trl.arguments import (
    DataArguments,
    DecodingArguments,
    ModelArguments,
    PredictArguments,
    PromptArguments,
    RougeArguments,
    parse_recipe,
)
from dialsum_trl.console import is_main_process, say, table
from dialsum_trl.errors import InputError, command
from dialsum_trl.runs import use_adapter_settings

SUBMISSION, SCORES = "submission.csv", "scores.json"


def summarize_sharded(summarizer, dialogues: list[str], settings, state, progress: bool = True) -> list:
    """Summaries in the order of `dialogues`; every rank takes its share and all get the whole list."""
    from accelerate.utils import gather_object

    from dialsum_trl.generation import summarize

    mine = summarize(summarizer, dialogues[state.process_index :: state.num_processes], settings, progress)
    parts = gather_object([mine])
    return [parts[i % state.num_processes][i // state.num_processes] for i in range(len(dialogues))]


def write_json(path: Path, content: dict) -> None:
    """Writes aside, then renames: a run that dies leaves the old file or none."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.rename(path)


@command
def predict(recipe: dict, argv: list[str]) -> dict:
    """Summarizes `test_file`; without an adapter this is the zero-shot evaluation.

    Returns:
        `{"summaries", "scores"}`; scores is None when the file has no references.
    """
    data, prompt, model_args, rouge, decoding, args = parse_recipe(
        [DataArguments, PromptArguments, ModelArguments, RougeArguments, DecodingArguments, PredictArguments],
        recipe,
        argv,
        adjust=use_adapter_settings,
        stage="predict",
    )
    if not args.test_file:
        raise InputError("no dialogues: give --test_file test.csv (fname,dialogue[,summary])")
    from dialsum_trl.data import read_dialogues
    from dialsum_trl.submission import write_submission

    rows = read_dialogues(args.test_file, columns=data.columns(), require_summary=False)

    from accelerate import PartialState

    from dialsum_trl.generation import GenerationSettings, load_summarizer
    from dialsum_trl.rouge import RougeConfig, score

    state = PartialState(cpu=args.use_cpu)
    if state.device.type == "cpu" and not args.use_cpu:
        raise InputError("no GPU found: add --use_cpu true (slow for models of billions), or run on a GPU")
    summarizer = load_summarizer(
        model_args.model_name_or_path,
        model_args.adapter_path,
        dtype=model_args.dtype,
        quantization=model_args.quantization,
        revision=model_args.model_revision,
        prompt_style=prompt.prompt_style,
        device=state.device,
        engine=decoding.engine,
    )
    chosen = {key: value for key, value in asdict(decoding).items() if key != "engine"}
    settings = GenerationSettings(**chosen, max_length=args.max_length)
    summaries = summarize_sharded(summarizer, rows["dialogue"], settings, state)
    texts = [summary.text for summary in summaries]

    scores = None
    references = [row for row in rows["summaries"] if row]
    if references and len(references) == len(rows):
        config = RougeConfig(rouge.rouge_tokenizer, rouge.rouge_masks, rouge.rouge_references)
        scores = score(texts, rows["summaries"], config, bootstrap=args.bootstrap)
    hit_limit = sum(summary.hit_limit for summary in summaries) / len(summaries)
    if is_main_process():
        folder = Path(args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_submission(folder / SUBMISSION, rows["fname"], texts, template=args.template)
        write_json(
            folder / SCORES,
            {
                "model": model_args.model_name_or_path,
                "adapter": model_args.adapter_path,
                "decoding": asdict(decoding),
                "rouge": scores.to_dict() if scores else None,
                "hit_limit": hit_limit,
            },
        )
    if scores:
        say(scores.table())
    table(
        "Summaries",
        [
            ("rows", len(texts)),
            ("mean length, tokens", round(sum(s.tokens for s in summaries) / len(summaries), 1)),
            ("cut by --max_new_tokens", f"{100 * hit_limit:.1f} %"),
            ("submission", Path(args.output_dir) / SUBMISSION),
        ],
    )
    return {"summaries": texts, "scores": scores}
