"""The report's training runs: found by comparing names, never by opening what a file says; any log can be drawn."""

import json
import re
import shutil
from xml.etree import ElementTree

import pytest

from dialsum_trl.sharing.chart import line_charts, ticks
from dialsum_trl.sharing.report.page import Run
from dialsum_trl.stages.report import report
from tests.conftest import TINY

HISTORY = [{"step": step, "loss": 1 / step} for step in (1, 2)]
ODD = [float("nan"), float("inf"), float("-inf")]
LINE = "x: its adapter is not next to its summaries; --runs x=folder shows its curves"


@pytest.fixture
def place(tmp_path):
    """A folder with six rows (`test.csv`) and a system for them (`here/system`)."""
    system = tmp_path / "here" / "system"
    system.mkdir(parents=True)
    rows = [f"a{number},#Person1#: 안녕 {number},인사를 한다\n" for number in range(6)]
    (tmp_path / "test.csv").write_text("".join(["fname,dialogue,summary\n", *rows]), encoding="utf-8")
    summaries = "".join(["fname,summary\n", *(f"a{number},인사\n" for number in range(6))])
    (system / "submission.csv").write_text(summaries, encoding="utf-8")
    return tmp_path


def make_run(folder, history=(), **record):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": list(history) or HISTORY}))
    (folder / "dialsum.json").write_text(json.dumps({"method": "METHOD", **record}))
    return folder


def build(place, how=None, *flags, names=("x",)):
    """The page of the system, whose `scores.json` holds `how`, and the report's figures."""
    for name in names:
        folder = place / "here" / ("system" if name == "x" else name)
        if not folder.exists():
            shutil.copytree(place / "here" / "system", folder)
        (folder / "scores.json").write_text(json.dumps(how or {}))
    systems = [f"{name}={place / 'here' / ('system' if name == 'x' else name)}" for name in names]
    flags = ["--systems", *systems, "--test_file", str(place / "test.csv"), "--bootstrap", "1", *flags]
    content = report({}, [*flags, "--output_file", str(place / "r.html")])
    return (place / "r.html").read_text(encoding="utf-8"), content


@pytest.mark.parametrize("where", ["elsewhere/run", "here/system/../../elsewhere/run", "here/deeper/run"])
@pytest.mark.parametrize("key", ["adapter", "model"])
def test_a_run_that_a_file_names_elsewhere_is_not_opened(place, capsys, where, key):
    make_run(place / where)
    page, _ = build(place, {key: str(place / where)})
    assert "METHOD" not in page and "Loss, " not in page
    assert (LINE in capsys.readouterr().out.splitlines()) == (key == "adapter")


@pytest.mark.parametrize("key", ["adapter", "model"])
def test_a_run_beside_the_summaries_is_found_once(place, capsys, monkeypatch, key):
    make_run(place / "here" / "run")
    monkeypatch.chdir(place)
    page, _ = build(place, {key: "here/run"}, names=("x", "more"))
    assert page.count("Loss, x") == 3 and "Loss, more" not in page  # label, title and heading of one picture
    assert "--runs" not in capsys.readouterr().out


def test_summaries_inside_the_folder_of_their_run_have_its_curves(place):
    make_run(place / "here")
    assert "Loss, x" in build(place, {"adapter": str(place / "here")})[0]


def test_a_run_elsewhere_is_given_with_runs(place, capsys):
    run = make_run(place / "elsewhere")
    assert "Loss, mine" in build(place, {"adapter": str(run)}, "--runs", f"mine={run}")[0]
    assert LINE not in capsys.readouterr().out


def test_tokens_are_counted_with_the_runs_own_tokenizer_and_not_with_what_its_record_names(place):
    run = make_run(place / "here" / "run", base_model=str(TINY / "llama"))
    how = {"adapter": str(run)}
    assert build(place, how)[1]["lengths"]["unit"] == "characters"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TINY / "llama" / name, run)
    assert build(place, how)[1]["lengths"]["unit"] == "tokens"


@pytest.mark.parametrize("adapter", ["~", "", None])
def test_a_name_that_no_file_can_have_is_no_run(place, adapter):
    assert "Loss, " not in build(place, {"adapter": adapter})[0]


# What cannot be drawn


def places(svg):
    return [float(number) for number in re.findall(r"-?[\d.]+", " ".join(re.findall(r' d="M[^"]*"', svg)))]


@pytest.mark.parametrize("odd", ODD)
def test_a_log_with_an_odd_number_is_drawn_without_it(odd):
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": odd}, {"step": 3, "loss": 1.0}]
    (plain,) = Run("x", [history[0], history[2]], {}).plots
    assert Run("x", history, {}).plots == [plain]


@pytest.mark.parametrize("odd", ODD)
def test_a_log_of_odd_numbers_alone_has_no_picture(odd):
    assert Run("x", [{"step": step, "loss": odd} for step in (1, 2)], {}).plots == []


@pytest.mark.parametrize(
    "values",
    [(1e-7, 3e-7), (1e9, -1e9), (5, 5), (0.0, 0.0), (1.0, 1.0 + 2e-16)],
)
def test_numbers_that_are_tiny_huge_or_all_but_equal_have_ticks_and_a_place(values):
    marks = ticks(list(values))
    assert 2 <= len(marks) <= 20 and marks[0] < marks[-1]
    svg = line_charts({"Loss": {"training": list(enumerate(values))}})
    assert ElementTree.fromstring(svg) is not None and all(-1 <= number <= 700 for number in places(svg))
    (drawn,) = Run("x", [{"step": index, "loss": value} for index, value in enumerate(values)], {}).plots
    assert all(-1 <= number <= 700 for number in places(drawn))
