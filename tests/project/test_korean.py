"""The Korean pages: the commands and the figures of their English counterparts."""

import re
from collections import Counter

import pytest

from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAIRS = {"README.ko.md": ROOT / "README.md"} | {
    f"docs/ko/{page.name}": DOCS / page.name for page in sorted((DOCS / "ko").glob("*.md"))
}
# decimals, thousands, and numbers of two digits or more: one digit may be a word in one of the languages
FIGURE = re.compile(r"(?<![\w.])\d[\d,]*\.\d+(?![\w.]*\d)|(?<![\w.,])\d{1,3}(?:,\d{3})+|(?<![\w.,])\d{2,}(?![\d.,]*\d)")


def code(page) -> list[str]:
    return re.findall(r"```\w+\n.*?```", page.read_text("utf-8"), re.DOTALL)


def figures(page) -> Counter:
    """Those of texts and tables, without code and addresses."""
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", " ", page.read_text("utf-8"), flags=re.DOTALL)
    return Counter(FIGURE.findall(text))


@pytest.mark.parametrize("name", PAIRS)
def test_a_korean_page_has_the_commands_of_the_english_one(name):
    assert code(ROOT / name) == code(PAIRS[name])


@pytest.mark.parametrize("name", PAIRS)
def test_a_korean_page_has_the_figures_of_the_english_one(name):
    korean, english = figures(ROOT / name), figures(PAIRS[name])
    assert (korean - english, english - korean) == (Counter(), Counter())


@pytest.mark.parametrize("name", PAIRS)
def test_a_korean_page_has_the_rows_of_every_table_of_the_english_one(name):
    """By their code, which is the same in both languages."""

    def rows(page):
        lines = re.findall(r"^\|.*\|$", page.read_text("utf-8"), re.MULTILINE)
        return [re.findall(r"`[^`]+`", line) for line in lines]

    korean, english = rows(ROOT / name), rows(PAIRS[name])
    assert len(korean) == len(english)
    assert [row for row in english if row] == [row for row in korean if row]


def test_readme_and_its_korean_page_name_each_other():
    head = {name: (ROOT / name).read_text("utf-8")[:200] for name in ("README.md", "README.ko.md")}
    assert "(README.ko.md)" in head["README.md"] and "(README.md)" in head["README.ko.md"]
