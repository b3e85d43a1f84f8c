"""A plan of settings, a trial each, the best one kept as YAML."""

import hashlib
import itertools
import json
import random
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import yaml

from dialsum_trl.core.console import is_main_process, say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import check_writable, write_text
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.core.settings.flags import (
    DecodingArguments,
    ModelArguments,
    PromptArguments,
)
from dialsum_trl.core.settings.prompt_texts import INSTRUCTIONS, RECORDED, SYSTEM
from dialsum_trl.data.contamination import contamination_warnings
from dialsum_trl.data.dialogues import can_be_scored, read_dialogues
from dialsum_trl.data.predictions import write_predictions
from dialsum_trl.data.submission import check_template
from dialsum_trl.generation import sharded as inference
from dialsum_trl.generation.model_scores import load_scorers, model_scores
from dialsum_trl.generation.trials import BASE, Trials, compare_trials, describe, once_each, print_trials
from dialsum_trl.metrics.rouge import RougeConfig, score
from dialsum_trl.models.adapter_settings import compare_with_adapter, refuse_prompt
from dialsum_trl.prompts.prompt import check_fields, set_prompt
from dialsum_trl.prompts.tokenizer import tokenizer_of

TRIALS, CHOSEN = "trials.jsonl", "chosen.yaml"
PROMPT_AXES = ("instruction", "system_prompt", "speech_rules")
AXES = ("num_beams", "length_penalty", "no_repeat_ngram_size", "max_new_tokens")


def plan(args, decoding: DecodingArguments) -> list[dict]:
    """The settings to try, grouped by adapter: the flags' own decoding with the first adapter, then the grid.

    A setting is `{"adapter", "num_beams", "length_penalty", "no_repeat_ngram_size", "max_new_tokens"}`, and of
    `PROMPT_AXES` those that are swept; there the usual is None, the model's own. Where prompts are swept, decoding is
    the usual one but for what the user gives. The length penalty means nothing to greedy decoding, which is tried once.
    """
    usual = {axis: getattr(decoding, axis) for axis in AXES}
    prompts = {axis: [None, *values] for axis in PROMPT_AXES if (values := getattr(args, f"sweep_{axis}"))}
    axes = {
        axis: [usual[axis]] if prompts and f"sweep_{axis}" not in args.given else getattr(args, f"sweep_{axis}")
        for axis in AXES
    } | prompts
    settings = [{"adapter": args.adapter_paths[0], **dict.fromkeys(axes), **usual}]
    for adapter, *values in itertools.product(args.adapter_paths, *axes.values()):
        setting = {"adapter": adapter, **dict(zip(axes, values, strict=True))}
        if setting["num_beams"] == 1:
            setting["length_penalty"] = usual["length_penalty"]
        if setting not in settings:
            settings.append(setting)
    if args.trials is not None and args.trials < len(settings):
        draw = random.Random(decoding.seed)
        rest = [[setting for setting in settings[1:] if setting["adapter"] == path] for path in args.adapter_paths]
        turns = itertools.zip_longest(*(draw.sample(group, len(group)) for group in rest))  # adapters take turns
        drawn = [setting for turn in turns for setting in turn if setting is not None]
        settings = [settings[0], *drawn[: max(0, args.trials - 1)]]
    return sorted(settings, key=lambda setting: args.adapter_paths.index(setting["adapter"]))


def run(data, prompt, model_args, rouge, decoding, args) -> dict:
    """Scores every setting on dev rows and keeps the best one."""
    args.adapter_paths = once_each(args.adapter_paths or [model_args.adapter_path or BASE])
    if BASE in args.adapter_paths and not model_args.model_name_or_path:
        raise InputError("no model: give --adapter_paths a b ..., or --model_name_or_path for the base model alone")
    if decoding.do_sample:
        raise InputError("--do_sample true: a sweep compares searches; sample candidates with recipes/predict.py")
    if not data.eval_file:
        raise InputError("no dev rows to choose on: give --eval_file dev.csv (fname,dialogue,summary)")

    dev = read_dialogues(data.eval_file, columns=data.columns())
    test = read_dialogues(args.test_file, columns=data.columns(), require_summary=False) if args.test_file else None
    for warning in contamination_warnings(dev, test) if test is not None else ():
        say(f"{data.eval_file} as training rows of the choice, {args.test_file}: {warning}")
    check_template(args.template, (dev if test is None else test)["fname"][:])
    check_writable(Path(args.output_dir))
    config = RougeConfig.of(rouge)
    state = inference.start(args.use_cpu)
    models = {path: _model(path, model_args, prompt, args.given) for path in args.adapter_paths}
    for own, _ in models.values():
        refuse_prompt(own.model_name_or_path, args.given, own.model_revision, own.trust_remote_code)
    depends_on = {
        "rows": hashlib.sha256(json.dumps(dev.to_dict(), ensure_ascii=False).encode()).hexdigest(),
        "rouge": asdict(config),
        "models": {
            path: inference.identity(own, decoding, tokenizer_of(own, style)) for path, (own, style) in models.items()
        },
        "max_length": args.max_length,
    }
    if set(args.metrics) - {"rouge"}:
        depends_on["metrics"] = [args.metrics, args.bertscore_model, args.bleurt_model]
    settings = plan(args, decoding)
    for setting in settings:  # a value that cannot be used shows before hours of trials
        inference.generation_settings(_decoding(decoding, setting), args.max_length)
        check_fields(asked(models[setting["adapter"]][1], setting), dev, data.eval_file)
    if is_main_process():
        sole_writer(args.output_dir)
    journal = Trials(Path(args.output_dir) / TRIALS, depends_on)

    loaded, summarizer = None, None
    scorers = load_scorers(args, state.device)
    for number, setting in enumerate(settings, start=1):
        if journal.find(setting):
            continue
        if setting["adapter"] != loaded:
            summarizer = None  # its memory is needed for the next one
            loaded = setting["adapter"]
            summarizer = inference.load(*models[loaded], decoding, state.device)
        set_prompt(summarizer.tokenizer, asked(models[loaded][1], setting))
        chosen = inference.generation_settings(_decoding(decoding, setting), args.max_length)
        trial = {"setting": setting, **_trial(summarizer, chosen, dev, state, config, scorers, args.bootstrap)}
        journal.add(trial)
        mean, seconds = trial["rouge"]["mean"], trial["seconds"]
        say(f"{number} of {len(settings)}: {describe(setting)}: ROUGE mean {mean:.2f} in {seconds:.0f} s")
    trials = [journal.find(setting) for setting in settings]
    gain = compare_trials(trials, args.bootstrap)
    print_trials(trials, gain, data.eval_file)
    best = trials[gain["best"]]["setting"]
    model = models[best["adapter"]]
    if best["adapter"] != loaded:
        summarizer = inference.load(*model, decoding, state.device)
    model = model[0], asked(model[1], best)
    set_prompt(summarizer.tokenizer, model[1])
    rows = dev if test is None else test
    _finish(args, best, model, summarizer, _decoding(decoding, best), config, state, rows)
    return {"chosen": best, "trials": trials, "gain": gain}


def _trial(summarizer, settings, dev, state, config: RougeConfig, scorers: list, bootstrap: int) -> dict:
    """The dev rows summarized with these settings: scores, lengths and seconds, for the journal."""
    started = time.perf_counter()
    summaries = inference.summarize_sharded(summarizer, dev["dialogue"], settings, state, False, dev["topic"][:])
    seconds = time.perf_counter() - started
    texts = [summary.text for summary in summaries]
    others = model_scores(scorers, texts, dev["summaries"][:], config.references, bootstrap)
    return {
        "rouge": score(texts, dev["summaries"], config, bootstrap=bootstrap).to_dict(per_row=True),
        **({"model_scores": [one.to_dict(per_row=True) for one in others]} if others else {}),
        "tokens": sum(s.tokens for s in summaries) / len(summaries),
        "hit_limit": sum(s.hit_limit for s in summaries) / len(summaries),
        "seconds": round(seconds, 2),
    }


def asked(prompt: PromptArguments, setting: dict) -> PromptArguments:
    """The prompt of a setting; `prompt`: the model's own."""
    changes = {axis: setting[axis] for axis in PROMPT_AXES if setting.get(axis) is not None}
    if "instruction" in changes:
        changes["instruction"] = [changes["instruction"]]
    if "speech_rules" in changes:
        changes["speech_rules"] = changes["speech_rules"].split("+")
    return replace(prompt, **changes)


def _decoding(decoding: DecodingArguments, setting: dict) -> DecodingArguments:
    return replace(decoding, **{axis: setting[axis] for axis in AXES})


def _model(path: str, model_args: ModelArguments, prompt: PromptArguments, given: set[str]):
    """Model and prompt settings of one adapter: as it was trained, but for what the user set."""
    if path == BASE:
        return replace(model_args, adapter_path=None), prompt
    named = {**asdict(model_args), **asdict(prompt), "adapter_path": path}
    found = {key: value for key, value in compare_with_adapter(named, given).items() if key not in given}
    own = {item.name for item in fields(ModelArguments)}
    return (
        replace(model_args, adapter_path=path, **{key: value for key, value in found.items() if key in own}),
        replace(prompt, **{key: value for key, value in found.items() if key not in own}),
    )


def _finish(args, best, model, summarizer, decoding, config, state, rows) -> None:
    """The chosen setting as a file for `recipes/predict.py --config`, and its submission."""

    settings = inference.generation_settings(decoding, args.max_length)
    summaries = inference.summarize_sharded(summarizer, rows["dialogue"], settings, state, topics=rows["topic"][:])
    texts = [summary.text for summary in summaries]
    references = rows["summaries"] if can_be_scored(rows, args.test_file) else None
    report = score(texts, references, config, args.bootstrap) if references else None
    if not is_main_process():
        return
    folder, model_args = Path(args.output_dir), model[0]
    chosen = {"model_name_or_path": model_args.model_name_or_path, "adapter_path": model_args.adapter_path}
    chosen |= {axis: best[axis] for axis in AXES}
    chosen |= {name: getattr(model_args, name) for name in ("model_revision", "dtype", "quantization")}
    chosen |= {"prompt_style": model[1].prompt_style, "max_length": args.max_length, "use_cpu": args.use_cpu}
    prompt = model[1]
    if [prompt.system_prompt, *prompt.instruction[:1]] != [SYSTEM, INSTRUCTIONS[0]]:
        chosen |= {"system_prompt": prompt.system_prompt, "instruction": prompt.instruction[:1]}
    chosen |= {"speakers": prompt.speakers} if prompt.speakers != "keep" else {}
    chosen |= {"speech_rules": prompt.speech_rules or ["none"]} if prompt.speech_rules or "speech_rules" in best else {}
    sections = {"predict": chosen}
    if any(axis in best for axis in PROMPT_AXES):  # to train with it
        sections["sft"] = {name: chosen[name] for name in RECORDED if name in chosen}
    write_text(folder / CHOSEN, yaml.safe_dump(sections, allow_unicode=True, sort_keys=False))
    how = {"model": model_args.model_name_or_path, "adapter": model_args.adapter_path, "decoding": asdict(decoding)}
    how |= {"postprocess": [], "test_file": args.test_file}
    path = write_predictions(
        folder, rows["fname"][:], texts, how, generated=summaries, scores=report, template=args.template
    )
    if report and args.test_file:
        say(report.table("chosen, on the test rows"))
    say(f"submission: {path}\nagain with: recipes/predict.py --config {folder / CHOSEN} --test_file ...")
