"""Predictions, submission templates, preference pairs, single dialogues, and what the report reads."""

import json

from tests.bad_inputs.case import ROWS, Case, Place
from tests.conftest import TINY

SCORE = "score {given}/mine.csv {given}/test.csv --bootstrap 0"
CONSENSUS = "ensemble --prediction_files {given}/mine.csv {given}/good.csv --output_dir {out}/consensus"
TEMPLATE = CONSENSUS.replace("mine", "good2") + " --template {given}/sample.csv"
REPORT = "report --systems one={given}/system --test_file {given}/test.csv --output_file {out}/report.html"
NAMES = [f"dev_{n}" for n in range(ROWS.count("\ndev_"))]
MINE = {name: f"{name} 요약" for name in NAMES}
PAIR = {"prompt": "#Person1#: 안녕", "chosen": "인사한다.", "rejected": "모른다."}


def submission(rows: dict[str, str], head: str = "fname,summary") -> str:
    return head + "\n" + "".join(f"{name},{text}\n" for name, text in rows.items())


def scored(name: str, content: str | bytes, *says: str) -> Case:
    return Case(f"predictions: {name}", SCORE, {"mine.csv": content}, ("mine.csv", *says))


def template(name: str, content: str | bytes, *says: str, file: str = "sample.csv") -> Case:
    make = {"good.csv": submission(MINE), "good2.csv": submission(MINE), file: content}
    return Case(f"template: {name}", TEMPLATE.replace("sample.csv", file), make, (file, *says))


def pairs(name: str, content: str | bytes | dict, *says: str, file: str = "pairs.jsonl") -> Case:
    if isinstance(content, dict):
        content = json.dumps({**PAIR, **content}) + "\n"
    command = (
        "reward --model_name_or_path {toy} --dtype float32 --quantization none --use_cpu true "
        "--output_dir {out}/run --pairs_file {given}/" + file
    )
    return Case(f"pairs: {name}", command, {file: content}, (file, *says))


def system(name: str, files: dict[str, str | bytes], *says: str, command: str = REPORT) -> Case:
    whole = {"system/submission.csv": submission(MINE), **{f"system/{n}": content for n, content in files.items()}}
    return Case(f"report: {name}", command, whole, says)


def a_training_run(**files: str):
    return {"run/trainer_state.json": '{"log_history": []}', **{f"run/{n}.json": c for n, c in files.items()}}


def run(name: str, content: str, *says: str, file: str = "trainer_state") -> Case:
    files = {"system/submission.csv": submission(MINE), **a_training_run(**{file: content})}
    return Case(f"report: {name}", f"{REPORT} --runs r={{given}}/run", files, (f"{file}.json", *says))


def sampled(name: str, files: dict[str, str], *says: str) -> Case:
    """`recipes/preferences.py` that finds samples of an earlier run."""

    def make(place: Place):
        place.adapter()
        for file, content in files.items():
            (place.out / "run" / file).write_text(content, encoding="utf-8")

    command = (
        "preferences --adapter_path {given}/adapter --use_cpu true --train_file {given}/test.csv "
        "--output_dir {out}/run --max_new_tokens 4"
    )
    return Case(f"samples: {name}", command, make, says)


def dialogue(name: str, content: str | bytes, *says: str) -> Case:
    return Case(
        f"dialogue: {name}",
        "summarize {given}/a.txt --model_name_or_path {toy} --quantization none",
        {"a.txt": content},
        ("a.txt", *says),
    )


FIRST = NAMES[0]
CASES = [
    Case(
        "predictions: fewer resamples than none",
        SCORE.replace("--bootstrap 0", "--bootstrap -3"),
        {"mine.csv": submission(MINE)},
        ("--bootstrap -3", "at least 0"),
    ),
    scored("nothing", "", "is empty", "header line"),
    scored("no column of summaries", submission(MINE, "fname,sumary"), "no column 'summary'", "rename 'sumary'"),
    scored("a header alone", "fname,summary\n", "no data rows"),
    scored("no names", submission(MINE, "row,summary"), "no column 'fname'"),
    scored("half of the rows", submission(dict(list(MINE.items())[:5])), "ids are missing", "the same test file"),
    scored("rows of another file", submission({f"x{n}": "a" for n in NAMES}), "ids are missing", "not known there"),
    scored("a row twice", submission(MINE) + f"{FIRST},다시\n", f"'{FIRST}' appears a second time", "its own name"),
    scored("a row without a name", submission({**MINE, " ": "a"}), "column 'fname': empty", "fill it"),
    scored("one latin-1 byte", b"fname,summary\na,caf\xe9\n", "line 2, byte 19 (0xe9)", "iconv"),
    scored("commas that nobody quoted", submission({FIRST: "하나, 둘"}), "row 1 (line 2) has 3 cells", "double quotes"),
    Case(
        "predictions: an object for a summary",
        SCORE.replace("mine.csv", "mine.jsonl"),
        {"mine.jsonl": json.dumps({"fname": "a", "summary": {"text": "b"}}) + "\n"},
        ("mine.jsonl: row 1", "not text"),
    ),
    Case("predictions: a folder", SCORE, lambda p: (p.given / "mine.csv").mkdir(), ("mine.csv is a folder",)),
    Case("predictions: one file for a consensus", "ensemble --prediction_files {given}/test.csv", {}, ("two files",)),
    Case(
        "predictions: two files of different rows",
        CONSENSUS,
        {"mine.csv": submission({"a": "b"}), "good.csv": submission(MINE)},
        ("good.csv", "ids"),
    ),
    template("a row too many", submission({**MINE, "dev_999": ""}), "ids are missing: dev_999"),
    template("a row too few", submission(dict(list(MINE.items())[1:])), f"not known there: {FIRST}"),
    template("a row twice", submission(MINE) + f"{FIRST},\n", f"'{FIRST}' appears a second time in the template"),
    template("no column of summaries", submission(MINE, "fname,text"), "no column 'summary'"),
    template("JSON of other rows", '[{"id": "x", "output": ""}]', "not known there", file="sample.json"),
    pairs("nothing", "", "no data rows"),
    pairs("no rejected summary", json.dumps({"prompt": "a", "chosen": "b"}), "row 1 (line 1)", "'rejected'"),
    pairs("an empty chosen summary", {"chosen": " "}, "row 1 (line 1)", "'chosen'", "not empty"),
    pairs("messages without a role", {"chosen": [{"content": "x"}]}, "'chosen'", "text"),
    pairs("a prompt of nothing but markup", {"prompt": "<br>\\n"}, "row 1 (line 1)", "'prompt'", "not empty"),
    pairs("two summaries alike", {"rejected": "인사한다. "}, "the same text", "leave the pair out"),
    pairs("a text for a margin", {"margin": "big"}, "'margin'", "number"),
    pairs("half a surrogate pair", {"chosen": "a\ud800"}, "'chosen'", "half a surrogate pair"),
    pairs("a CSV without rejected", "prompt,chosen\na,b\n", "'rejected'", file="pairs.csv"),
    Case(
        "pairs: too few to hold any out",
        pairs("x", {}).command,
        {"pairs.jsonl": json.dumps(PAIR) + "\n"},
        ("--held_out", "both sides", "--eval_pairs_file"),
    ),
    Case(
        "pairs: a folder",
        pairs("x", {}).command,
        lambda p: (p.given / "pairs.jsonl").mkdir(),
        ("pairs.jsonl", "folder"),
    ),
    system(
        "a system that is an empty folder",
        {},
        "holds no submission.csv",
        command=REPORT.replace("{given}/system", "{given}"),
    ),
    system("scores that are no JSON", {"scores.json": "{"}, "scores.json", "run the prediction again"),
    system("scores that are a list", {"scores.json": "[]"}, "scores.json", "object"),
    system("a focus that is none", {}, "--focus two", "one", command=f"{REPORT} --focus two"),
    run("a log that is no JSON", "{", "JSON"),
    run("a log that is a list", "[]", "object"),
    run("a log without entries", "{}", "log_history"),
    run("a record that is a list", "[]", "object", file="dialsum"),
    sampled("a line that is no JSON", {"samples.jsonl": '{"fname": \n'}, "samples.jsonl", "another --output_dir"),
    sampled(
        "a line without its samples", {"samples.jsonl": '{"fname": "a"}\n'}, "samples.jsonl", "another --output_dir"
    ),
    dialogue("nothing", " \n", "holds no dialogue", "#Person1#"),
    dialogue("bytes of no text", b"#Person1#: \xff\xfe", "not UTF-8", "iconv"),
    dialogue("rows of JSON", '{"dialogue": "a"}', "is a table", "recipes/predict.py"),
    dialogue("a NUL byte", "#Person1#: a\0b", "NUL"),
    Case(
        "dialogue: nothing there", "summarize {given}/a.txt --model_name_or_path {toy}", {}, ("a.txt", "No such file")
    ),
    Case("dialogue: a folder", "summarize {given} --model_name_or_path {toy} --quantization none", {}, ("irectory",)),
    Case("push: neither adapter nor model", "push {given} me/x", {}, ("neither an adapter", "config.json")),
    Case(
        "check: a fix over an existing file",
        f"check {TINY}/data/dev.csv --fix {{given}}/test.csv",
        {},
        ("--fix", "nothing is overwritten"),
    ),
]
