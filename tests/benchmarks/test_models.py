"""Architectures through SFT, resume, predict and merge: the rows of docs/models.md."""

import json

import pytest

from benchmarks import models
from benchmarks.record import RESULTS
from tests.benchmarks.test_tables import tables

QUICK = ("llama", "gemma3_text", "qwen3_moe")


def compare(kind):
    """Tries an architecture out and compares what was found with its row of the page."""
    rows = next(rows for header, rows in tables(models.PAGE) if header[0] == "architecture")
    shown = {row[0]: row[1:] for row in rows}[f"`{kind}`"]
    found = models.row_of(kind)
    assert [found.get(name, "") for name in models.HEADER[1:]] == shown


@pytest.mark.parametrize("kind", QUICK)
def test_an_architecture_does_what_its_row_says(kind):
    compare(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in models.ARCHITECTURES if kind not in QUICK])
def test_every_other_architecture_does_what_its_row_says(kind):
    compare(kind)


def test_the_page_shows_the_rows_that_were_written():
    rows = json.loads((RESULTS / "models.json").read_text("utf-8"))
    assert tuple(rows) == models.ARCHITECTURES
    assert models.table(rows) in models.PAGE.read_text("utf-8")


def test_the_page_says_of_each_checkpoint_what_the_families_say():
    assert models.table(models.checkpoint_rows(), models.CHECKPOINT_HEADER) in models.PAGE.read_text("utf-8")
