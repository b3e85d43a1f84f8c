"""Rows and files of rows, written, read and taken from the sample data; texts to fuzz with; the line of an error."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dialsum_trl.core.errors import InputError
from tests.conftest import TINY

HEADER = ("fname", "dialogue", "summary", "topic")
DIALOGUE = "#Person1#: 안녕하세요.\n#Person2#: 네, 안녕하세요, 반갑습니다."
SUMMARY = '#Person1#과 "민수"가 인사한다.'
TRAIN, DEV, TEST = (TINY / "data" / f"{split}.csv" for split in ("train", "dev", "test"))
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def row(fname, dialogue=DIALOGUE, summaries=(SUMMARY,), topic=None):
    return {"fname": fname, "dialogue": dialogue, "summaries": list(summaries), "topic": topic}


def write_csv(path, rows, header=None, **options):
    """A CSV of `rows`, whose columns are the first of `HEADER` unless they are named."""
    rows = list(rows)
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        csv.writer(file, **options).writerows([header or HEADER[: len(rows[0]) if rows else None], *rows])
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def read_csv(path) -> list[list[str]]:
    """The lines of a CSV, its header first."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def read_rows(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def first_rows(source: Path, count: int, target: Path) -> Path:
    """The first rows of a CSV in a file of their own."""
    header, *rows = read_csv(source)
    return write_csv(target, rows[:count], header)


def sample(folder: Path, **counts: int) -> Path:
    """The folder, with the first rows of the sample data in it as `train.csv`, `dev.csv`, as many as `counts` says."""
    for split, count in counts.items():
        first_rows(TINY / "data" / f"{split}.csv", count, folder / f"{split}.csv")
    return folder


def message(function, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        result = function(*args, **kwargs)
        list(result)
    assert "\n" not in str(caught.value)
    return str(caught.value)
