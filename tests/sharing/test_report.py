"""The report: what it counts, that every text stays text, and that the page needs nothing from anywhere."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.predictions import write_predictions
from dialsum_trl.data.submission import read_aligned
from dialsum_trl.generation.settings import Summary
from dialsum_trl.metrics.rouge import RougeConfig, score
from dialsum_trl.sharing.report.runs import named
from dialsum_trl.stages.report import report
from tests.conftest import TINY
from tests.row_files import DEV, read_rows, write_csv

WORDS = RougeConfig("whitespace")
ATTACK = '<script>alert("x")</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """12 dev rows; the dialogue, summary, topic and fname of the first are markup."""
    path = tmp_path_factory.mktemp("rows") / "dev.csv"
    rows = read_rows(DEV)[:12]
    rows[0] |= {
        "dialogue": rows[0]["dialogue"] + f"\n#Person1#: {ATTACK}",
        "topic": "<b>주제</b>",
        "fname": "<i>dev</i>",
    }
    rows[0]["summary"] += f" {ATTACK}"
    return write_csv(path, [row.values() for row in rows], rows[0])


@pytest.fixture(scope="module")
def folders(dev, tmp_path_factory):
    """Three systems: the first words of the references, most of them, and the references with markup."""
    rows = read_dialogues(dev)
    base = tmp_path_factory.mktemp("systems")
    for name, keep in (("start", 0.3), ("more", 0.7), ("whole", 1.0)):
        texts = [
            " ".join(words[: max(1, round(len(words) * keep))]) for words in (s[0].split() for s in rows["summaries"])
        ]
        if name == "whole":
            texts[1] = f"{ATTACK} {texts[1]}"
        generated = [Summary(text, len(text) // 2, index < 3) for index, text in enumerate(texts)]
        how = {"model": f"toy{ATTACK}", "adapter": None, "decoding": {"num_beams": 4, "batch_size": None}}
        write_predictions(base / name, rows["fname"][:], texts, how, generated=generated)
    return base


def build(dev, folders, output, *flags):
    systems = [f"{name}={folders / name}" for name in ("start", "more", "whole")]
    fixed = ["--systems", *systems, "--test_file", str(dev), "--output_file", str(output), "--bootstrap", "50"]
    return report({}, [*fixed, *flags])


@pytest.fixture(scope="module")
def page(dev, folders, tmp_path_factory):
    output = tmp_path_factory.mktemp("report") / "report.html"
    run = shutil.copytree(TINY / "llama", output.parent / "sft")
    history = [{"step": s, "loss": 3 / s, "eval_loss": 2 / s, "eval_rouge_mean": 10.0 * s} for s in (1, 2, 3)]
    (run / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    (run / "dialsum.json").write_text(
        json.dumps({"base_model": str(TINY / "llama"), "settings": {"max_length": 1024, "learning_rate": 0.005}})
    )
    flags = ("--train_file", str(TINY / "data" / "train.csv"), "--runs", f"SFT={run}", "--note", ATTACK)
    content = build(dev, folders, output, *flags)
    return output.read_text(encoding="utf-8"), content


class Elements(HTMLParser):
    """Tags and attributes of a page, and whether every element is closed in order."""

    VOID = ("meta", "br", "img", "circle", "path", "rect")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.balanced = [], [], [], True
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        self.balanced &= bool(self.open) and self.open.pop() == tag


def test_markup_in_dialogues_summaries_topics_and_settings_stays_text(page):
    elements = Elements(page[0])
    assert not {"script", "img", "iframe", "link", "object"} & set(elements.tags)
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert page[0].count("&lt;script&gt;") >= 5 and "&lt;b&gt;주제&lt;/b&gt;" in page[0]


def test_the_page_is_whole_and_asks_nobody(page):
    elements = Elements(page[0])
    assert elements.balanced and not elements.open
    assert not re.search(r"https?://|url\(|@import|src=[\"']", page[0])
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in elements.attributes


def test_every_section_and_its_figures_are_there(page):
    text, content = page
    for heading in ("Systems", "Training", "Data", "Topics and lengths", "Best and worst of whole", "Settings"):
        assert f">{heading}<" in text
    for system in content["systems"].values():
        assert f"{system['rouge']['mean']:.2f}" in text
    assert "constant line" in text and "over 512" in text and "over 1024" in text and "learning rate" in text
    assert text.count("<article>") == 12  # six best and six worst of twelve rows


def test_the_figures_are_the_scores_of_the_summaries(page, dev, folders):
    rows = read_dialogues(dev)
    content = page[1]["systems"]

    for name in ("start", "more", "whole"):
        texts = read_aligned(folders / name / "submission.csv", rows["fname"][:])
        assert content[name]["rouge"]["mean"] == pytest.approx(score(texts, rows["summaries"]).mean, abs=1e-3)
        assert content[name]["hit_limit"] == pytest.approx(25)
    assert content["more"]["change"]["delta"] == pytest.approx(
        content["more"]["rouge"]["mean"] - content["start"]["rouge"]["mean"], abs=1e-3
    )
    assert content["start"]["length_ratio"] < content["more"]["length_ratio"] < 1


def test_the_figures_stand_beside_the_page_as_json(dev, folders, tmp_path):
    content = build(dev, folders, tmp_path / "r.html", "--focus", "start")
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == content
    assert content["lengths"]["unit"] == "characters"  # no run and no tokenizer is known here
    assert "Best and worst of start" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_worse_system_is_shown_as_worse(dev, folders, tmp_path):
    systems = [f"{name}={folders / name}" for name in ("whole", "start")]
    flags = ["--systems", *systems, "--test_file", str(dev), "--output_file", str(tmp_path / "r.html")]
    content = report({}, flags)
    change = content["systems"]["start"]["change"]
    assert change["delta"] < 0 and change["interval95"][1] < 0
    assert 'class="worse"' in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_other_column_names_are_followed(dev, folders, tmp_path):
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(dev.read_text(encoding="utf-8").replace("fname,dialogue,", "fname,text,", 1), encoding="utf-8")
    build(renamed, folders, tmp_path / "r.html", "--dialogue_column", "text")
    assert "12 usable rows of 12" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--focus", "best"), "--focus best: no such system; there are start, more, whole"),
        (("--systems", "a=nowhere"), "nowhere does not exist"),
        (("--runs", "SFT=."), r"trainer_state\.json: cannot be read"),
        (("--test_file", str(TINY / "data" / "dev.csv")), r"53 rows of .* have no summary"),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_nothing_is_written(dev, folders, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        build(dev, folders, tmp_path / "r.html", *flags)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dev.csv", r"name a \.html file"),
        ("r.json", r"name a \.html file"),
        ("", r"name a \.html file"),
        ("folder.html", "is a folder"),
        ("dev.csv/r.html", r"dev\.csv is no folder"),
        ("mine.html", r"mine\.json: exists and is no report's"),
    ],
)
def test_a_report_replaces_nothing_but_a_report(dev, folders, tmp_path, capsys, name, message):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "dev.csv").write_text("fname,dialogue,summary\n", encoding="utf-8")
    (tmp_path / "mine.json").write_text("{}", encoding="utf-8")
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=message):
        build(dev, folders, tmp_path / name)
    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()} == before
    assert capsys.readouterr().out == ""


def test_a_report_is_made_again_in_its_place(dev, folders, tmp_path):
    for _ in range(2):
        build(dev, folders, tmp_path / "r.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.json"]


def test_a_page_without_intervals_is_refused_before_anything_is_scored(dev, folders, tmp_path):
    with pytest.raises(InputError, match=r"--bootstrap 0: the page shows intervals"):
        build(dev, folders, tmp_path / "r.html", "--bootstrap", "0")
    assert not list(tmp_path.iterdir())


def test_a_path_with_an_equals_sign_is_a_path_bare_and_named(tmp_path):
    path = tmp_path / "lr=1e-4.csv"
    path.write_text("fname,summary\n", encoding="utf-8")
    assert named([str(path), f"mine={path}", f"a=b={path}"]) == {"lr=1e-4.csv": path, "mine": path, "a=b": path}
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        named(["mine=gone.csv"])


def test_a_system_named_twice_is_an_error(folders):
    with pytest.raises(InputError, match="the name start is given twice"):
        named([f"start={folders / 'start'}", str(folders / "start")])
