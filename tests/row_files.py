"""A row, files of rows, texts to fuzz with, and the line that an error shows."""

import csv

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dialsum_trl.core.errors import InputError

DIALOGUE = "#Person1#: 안녕하세요.\n#Person2#: 네, 안녕하세요, 반갑습니다."
SUMMARY = '#Person1#과 "민수"가 인사한다.'
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_csv(path, rows, header=("fname", "dialogue", "summary", "topic"), **options):
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        writer = csv.writer(file, **options)
        writer.writerows([header, *rows])
    return path


def message(function, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        result = function(*args, **kwargs)
        list(result)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def row(fname, dialogue=DIALOGUE, summaries=(SUMMARY,), topic=None):
    return {"fname": fname, "dialogue": dialogue, "summaries": list(summaries), "topic": topic}
