"""Preference pairs without human labels: summaries sampled from an SFT adapter, ranked by Korean ROUGE."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dialsum_trl.arguments import (
    DataArguments,
    DecodingArguments,
    ModelArguments,
    PromptArguments,
    RougeArguments,
    flag,
    parse_recipe,
)
from dialsum_trl.console import is_main_process, say, table
from dialsum_trl.errors import InputError, command
from dialsum_trl.json_file import parse_json, read_json
from dialsum_trl.resume.sameness import digest
from dialsum_trl.resume.sole import sole_writer
from dialsum_trl.rl.pair_making import MAX_REFERENCE_SHARE, make_pairs
from dialsum_trl.runs import use_adapter_settings
from dialsum_trl.share.recorded import read_record

PREFERENCE_SETTINGS = dict(num_beams=1, do_sample=True, temperature=1.0, top_p=0.95, max_new_tokens=100)
SAMPLES_FILE, PAIRS_FILE, SETTINGS_FILE = "samples.jsonl", "pairs.jsonl", "settings.json"
ROWS_AT_A_TIME = 256  # sampled, written, then the next: what a killed run loses at most


@dataclass
class PreferenceArguments:
    output_dir: str = flag("outputs/preferences", "Where samples.jsonl and pairs.jsonl go.")
    samples: int = flag(6, "Summaries sampled a dialogue, 4 to 8.")
    margin: float = flag(0.10, "Least difference in ROUGE (mean of 1, 2, L; 0 to 1) between chosen and rejected.")
    length_tolerance: float = flag(0.20, "How much shorter one of the two may be, as a share of characters.")
    reference_share: float = flag(0.15, "Greatest share of reference-against-sample pairs (at most 0.3).")
    faithfulness_share: float = flag(0.15, "Greatest share of pairs whose rejected summary has one fact changed.")
    write_folds: str | None = flag(None, "Folder: write the training rows as two folds to train on, and stop.")
    trained_rows: bool = flag(False, "Allow an adapter that was trained on a file of this name.")
    max_length: int = flag(1024, "Tokens of prompt + summary; longer dialogues lose middle turns.")
    use_cpu: bool = flag(False, "Run on the CPU.")

    def __post_init__(self):
        if not 2 <= self.samples <= 64:
            raise InputError(f"--samples {self.samples}: 4 to 8 are usual, 2 are the least")
        if not 0 <= self.reference_share <= MAX_REFERENCE_SHARE:
            raise InputError(f"--reference_share {self.reference_share}: 0 to {MAX_REFERENCE_SHARE}")
        if not 0 <= self.faithfulness_share <= 0.5:
            raise InputError(f"--faithfulness_share {self.faithfulness_share}: 0 to 0.5")


def write_folds(rows, folder: str, seed: int) -> list[Path]:
    """Two CSVs with half of the dialogues each, drawn by `seed`: an adapter trained on one samples on the other.

    Rows of one dialogue stay together, since a model that has seen it under another name has seen it.

    Raises:
        InputError: there is one dialogue, nothing can be written there, or other folds lie there: adapters may have
            been trained on them.
    """
    import random

    from dialsum_trl.corpus.cleaning import normalized
    from dialsum_trl.corpus.tables import csv_line
    from dialsum_trl.files import check_place, check_writable, write_text

    check_writable(Path(folder), "--write_folds")
    alike: dict[str, list[int]] = {}
    for index, dialogue in enumerate(rows["dialogue"]):
        alike.setdefault(normalized(dialogue), []).append(index)
    order = list(alike.values())
    random.Random(seed).shuffle(order)
    most = max(len(row) for row in rows["summaries"])
    names = ["summary"] if most == 1 else [f"summary{n + 1}" for n in range(most)]
    if len(order) < 2:
        raise InputError(f"--write_folds {folder}: one dialogue makes no two folds; give a --train_file with more")
    folds = {}
    for fold in range(2):
        lines = [csv_line(["fname", "dialogue", *names])]
        for index in sorted(index for group in order[fold::2] for index in group):
            row = rows[index]
            blank = [""] * (most - len(row["summaries"]))
            lines.append(csv_line([row["fname"], row["dialogue"], *row["summaries"], *blank]))
        folds[Path(folder) / f"fold{fold}.csv"] = "".join(lines)
    for path, content in folds.items():
        check_place(path)
        if path.exists() and path.read_bytes() != content.encode("utf-8"):
            raise InputError(
                f"--write_folds {folder}: {path.name} holds other rows, which an adapter may have been trained on; "
                "give another folder"
            )
    for path, content in folds.items():
        write_text(path, content)
    return list(folds)


def check_unseen(adapter_path: str | None, train_file: str) -> None:
    """Raises InputError when the adapter's record says that it was trained on a file of this name.

    On rows it has learned by heart, an adapter's samples are all good and their order says little.
    """
    if not adapter_path:
        return
    data = read_record(adapter_path).get("data")
    seen = data.get("file") if isinstance(data, dict) else None
    if data is None and (Path(adapter_path) / "trainer_state.json").exists():
        say(f"warning: {adapter_path} does not say on which rows it was trained; it may have seen these")
    if seen == Path(train_file).name:
        raise InputError(
            f"{adapter_path} was trained on {seen}: sample on rows it has not seen (--write_folds makes two halves to "
            f"train on), or go on with --trained_rows true"
        )


def read_samples(path: Path, dialogues: dict[str, str] | None = None) -> dict[str, list[str]]:
    """fname -> samples of an earlier run; a last line cut by a kill is left out.

    Args:
        dialogues: fname -> dialogue; default: whether samples are of these is not looked at.

    Raises:
        InputError: a line is none, or its samples are of another dialogue or of a row that is not there.
    """
    if not path.exists():
        return {}
    samples, remedy = {}, "choose another --output_dir"
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
        texts = [line.decode("utf-8") for line in lines]
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8; {remedy}") from None
    for number, line in enumerate(texts, start=1):
        row = parse_json(line, f"{path}: line {number}", remedy)
        fname, summaries = row.get("fname"), row.get("summaries")
        if not isinstance(fname, str) or not isinstance(summaries, list):
            raise InputError(f"{path}: line {number}: needs fname and summaries; {remedy}")
        if dialogues and fname not in dialogues:
            raise InputError(f"{path}: line {number}: {fname} is no row of this --train_file; {remedy}")
        if dialogues and row.get("dialogue") != digest(dialogues[fname]):
            raise InputError(f"{path}: line {number}: {fname} was sampled from another dialogue; {remedy}")
        samples[fname] = summaries
    return samples


def check_settings(path: Path, settings: dict) -> None:
    """Keeps the settings beside the samples; raises InputError when earlier samples were drawn with others."""
    from dialsum_trl.files import write_json

    if not path.exists():
        if is_main_process():
            write_json(path, settings)
        return
    earlier = read_json(path, "choose another --output_dir")
    if "version" not in earlier:
        raise InputError(
            f"{path.parent}: its samples were drawn by an older dialsum-trl, which did not keep what they depend on; "
            f"choose another --output_dir"
        )
    changed = [name for name in settings if earlier.get(name) != settings[name]]
    if changed:
        raise InputError(
            f"{path.parent}: its samples were drawn with {changed[0]} = {earlier.get(changed[0])}, now it is "
            f"{settings[changed[0]]}; choose another --output_dir"
        )


def sample_rows(rows, done: dict[str, list[str]], summarizer, settings, state, path: Path) -> dict[str, list[str]]:
    """Samples every row that `path` does not hold yet (`done`: what it holds), and appends them there.

    Returns:
        fname -> samples.
    """
    from dialsum_trl.files import write_text
    from dialsum_trl.inference import summarize_sharded

    todo = [i for i, fname in enumerate(rows["fname"]) if fname not in done]
    if done:
        say(f"{len(done)} dialogues were sampled before, {len(todo)} remain")
    state.wait_for_everyone()
    if is_main_process() and path.exists():  # without the line that a kill cut
        lines, end, _ = path.read_bytes().rpartition(b"\n")
        write_text(path, (lines + end).decode("utf-8"))
    for start in range(0, len(todo), ROWS_AT_A_TIME):
        part = rows.select(todo[start : start + ROWS_AT_A_TIME])
        summaries = summarize_sharded(summarizer, part["dialogue"][:], settings, state)
        new = {f: [s.text for s in row] for f, row in zip(part["fname"], summaries, strict=True)}
        done = {**done, **new}
        if is_main_process():
            with path.open("a", encoding="utf-8") as file:
                file.write("".join(_line(row, new[row["fname"]]) for row in part))
    return done


def _line(row: dict, texts: list[str]) -> str:
    line = {"fname": row["fname"], "dialogue": digest(row["dialogue"]), "summaries": texts}
    return json.dumps(line, ensure_ascii=False) + "\n"


def adjust(values: dict, given: set[str]) -> None:
    """The base is the adapter's; folds are written without any model."""
    if not values["write_folds"]:
        use_adapter_settings(values, given)


@command
def make_preferences(recipe: dict, argv: list[str]) -> dict:
    """Writes `pairs.jsonl` from the rows of `train_file`, and says what was kept and why the rest was not.

    Returns:
        The figures of the closing table; None for each when only folds were written.
    """
    data, prompt, model_args, rouge, decoding, args = parse_recipe(
        [DataArguments, PromptArguments, ModelArguments, RougeArguments, DecodingArguments, PreferenceArguments],
        {**PREFERENCE_SETTINGS, **recipe},
        argv,
        adjust=adjust,
        stage="preferences",
    )
    if not data.train_file:
        raise InputError("no dialogues: give --train_file with rows that the adapter was not trained on")
    from dialsum_trl.data import read_dialogues
    from dialsum_trl.files import write_text

    rows = read_dialogues(data.train_file, columns=data.columns())
    if args.write_folds:
        paths = write_folds(rows, args.write_folds, decoding.seed)
        say("train an adapter on each fold, then sample with each on the other: " + ", ".join(map(str, paths)))
        return {"folds": [str(path) for path in paths]}
    if not args.trained_rows:
        check_unseen(model_args.adapter_path, data.train_file)

    from dialsum_trl import inference
    from dialsum_trl.models import tokenizer_of
    from dialsum_trl.rouge import RougeConfig, score

    config = RougeConfig(rouge.rouge_tokenizer, rouge.rouge_masks, rouge.rouge_references)
    folder = Path(args.output_dir)
    drawn = {name: getattr(decoding, name) for name in ("temperature", "top_p", "max_new_tokens", "seed")}
    drawn |= {"samples": args.samples, "max_length": args.max_length}
    read_samples(folder / SAMPLES_FILE)  # before anything is written or loaded
    drawn |= inference.identity(model_args, decoding, tokenizer_of(model_args, prompt))
    if is_main_process():
        sole_writer(folder)
    check_settings(folder / SETTINGS_FILE, drawn)
    done = read_samples(folder / SAMPLES_FILE, dict(zip(rows["fname"], rows["dialogue"], strict=True)))
    state = inference.start(args.use_cpu)
    summarizer = inference.load(model_args, prompt, decoding, state.device)
    settings = inference.generation_settings(decoding, args.max_length, args.samples)
    sampled = sample_rows(rows, done, summarizer, settings, state, folder / SAMPLES_FILE)

    def mean_rouge(texts, references):
        report = score(texts, references, config, bootstrap=0, floor_line=None)
        return (report.per_row.mean(axis=1) / 100).tolist()

    samples = [sampled[fname] for fname in rows["fname"]]
    references = [row for row, texts in zip(rows["summaries"], samples, strict=True) for _ in texts]
    scores = iter(mean_rouge([text for texts in samples for text in texts], references))
    pairs, dropped = make_pairs(
        list(rows),
        samples,
        [[next(scores) for _ in texts] for texts in samples],
        mean_rouge,
        margin=args.margin,
        tolerance=args.length_tolerance,
        reference_share=args.reference_share,
        faithfulness_share=args.faithfulness_share,
        seed=decoding.seed,
    )
    if not pairs:
        raise InputError(f"no pairs: {dict(dropped)}; lower --margin, raise --temperature or --samples")
    if is_main_process():
        write_text(folder / PAIRS_FILE, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
    kinds = Counter(pair["kind"] for pair in pairs)
    figures = {
        "dialogues": len(rows),
        "samples a dialogue": args.samples,
        **{f"pairs: {kind}": count for kind, count in kinds.most_common()},
        **{f"no pair of samples: {reason}": count for reason, count in dropped.most_common()},
        "pairs": len(pairs),
        "file": str(folder / PAIRS_FILE),
    }
    table("Preferences", list(figures.items()))
    return figures
