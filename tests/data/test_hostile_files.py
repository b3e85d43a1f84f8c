"""Files made to do harm: nothing in them runs, nothing leaves its folder, every text stays text."""

import ast
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.predictions import write_predictions
from dialsum_trl.data.submission import read_aligned, read_predictions, write_submission
from dialsum_trl.metrics.rouge import score
from dialsum_trl.sharing.push import shared_files
from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.report import report
from tests.bad_inputs.case import snapshot
from tests.row_files import read_csv, write_csv

ATTACK = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>]]>&lt;`|"
FORMULAS = ["=1+1", "+82 10", "-5도", "@민수", "\t표", "\r줄", "\n줄", "＝1", "－1", "'=1", "''@a"]


@pytest.fixture
def strange_base(toy_base, tmp_path, monkeypatch):
    """A toy model that brings its own Python file, which leaves a mark when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(toy_base, tmp_path / "strange")
    (folder / "strange_code.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"open({str(tmp_path / 'owned')!r}, 'w').close()\n"
        "class StrangeConfig(LlamaConfig):\n    model_type = 'strange'\n"
        "class StrangeModel(LlamaForCausalLM):\n    config_class = StrangeConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "architectures": ["StrangeModel"]}
    config["auto_map"] = {
        "AutoConfig": "strange_code.StrangeConfig",
        "AutoModelForCausalLM": "strange_code.StrangeModel",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def summarize(base, output, *flags):
    rows = output.parent / "rows.csv"
    rows.write_text("fname,dialogue\na,#Person1#: 안녕\n", encoding="utf-8")
    given = ["--model_name_or_path", str(base), "--test_file", str(rows), "--output_dir", str(output)]
    small = dict(use_cpu=True, dtype="float32", quantization="none", max_new_tokens=2, num_beams=1)
    return predict(small, [*given, *flags])


def test_code_that_comes_with_a_model_is_not_run(strange_base, tmp_path):
    with pytest.raises(InputError, match="--trust_remote_code true"):
        summarize(strange_base, tmp_path / "out")
    assert not (tmp_path / "owned").exists() and not (tmp_path / "out").exists()


def test_code_that_comes_with_a_model_runs_by_the_flag_alone_and_with_a_warning(strange_base, tmp_path, capsys):
    summarize(strange_base, tmp_path / "out", "--trust_remote_code", "true")
    assert (tmp_path / "owned").exists()
    assert f"warning: --trust_remote_code runs Python files that come with {strange_base}" in capsys.readouterr().out


def test_a_recipe_cannot_switch_strange_code_on():
    with pytest.raises(InputError, match=r"recipe: trust_remote_code .* command line only"):
        predict({"trust_remote_code": True, "model_name_or_path": "x"}, [])


# Spreadsheets


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_a_submission_starts_a_formula_and_every_text_comes_back(formula, tmp_path, capsys):
    write_submission(tmp_path / "s.csv", [f"{formula.strip()}1", "b"], [formula, "둘"])
    cells = [cell for line in read_csv(tmp_path / "s.csv") for cell in line]
    assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r\n＝＋－＠")]
    assert read_predictions(tmp_path / "s.csv") == {f"{formula.strip()}1": formula, "b": "둘"}
    assert "1 of 2 summaries start like a spreadsheet formula" in capsys.readouterr().out


def test_formulas_in_a_template_are_neutralized_and_its_numbers_are_not(tmp_path):
    (tmp_path / "t.csv").write_text(',fname,note,=x,summary\n-1,a,"=HYPERLINK(""x"")",+1,\n', encoding="utf-8")
    write_submission(tmp_path / "s.csv", ["a"], ["요약"], tmp_path / "t.csv")
    assert read_csv(tmp_path / "s.csv") == [
        ["", "fname", "note", "'=x", "summary"],
        ["-1", "a", '\'=HYPERLINK("x")', "+1", "요약"],
    ]


def test_the_apostrophe_of_a_jsonl_belongs_to_its_text(tmp_path):
    (tmp_path / "p.jsonl").write_text(json.dumps({"fname": "a", "summary": "'=1"}) + "\n", encoding="utf-8")
    assert read_predictions(tmp_path / "p.jsonl") == {"a": "'=1"}


def test_a_neutralized_submission_scores_as_the_summaries_do(tmp_path):
    names, texts = ["a", "b", "c"], ["=1 더하기 1은 2", "@민수가 간다", "+82로 전화한다"]
    references = [["1 더하기 1은 2이다"], ["민수가 간다"], ["82로 전화한다"]]
    write_csv(tmp_path / "dev.csv", [(n, "#Person1#: 네", *r) for n, r in zip(names, references, strict=True)])
    write_submission(tmp_path / "s.csv", names, texts)
    rows = read_dialogues(tmp_path / "dev.csv")
    found = read_aligned(tmp_path / "s.csv", rows["fname"][:])
    assert found == texts
    assert score(found, rows["summaries"][:], bootstrap=0) == score(texts, references, bootstrap=0)


# Places


def test_no_row_name_is_used_as_a_path(tmp_path):
    names = ["../../evil", "/tmp/evil", "a/../../evil", "evil\\..\\x", "C:evil"]
    write_predictions(tmp_path / "deep" / "out", names, ["요약"] * len(names), {})
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]
    assert sorted(p.name for p in (tmp_path / "deep").rglob("*")) == [
        "out", "predictions.jsonl", "scores.json", "submission.csv",
    ]  # fmt: skip


def test_a_link_in_the_place_of_an_output_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "submission.csv").symlink_to(tmp_path / "mine.txt")
    write_predictions(tmp_path / "out", ["a"], ["요약"], {})
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert read_predictions(tmp_path / "out" / "submission.csv") == {"a": "요약"}


def test_a_push_sends_no_file_that_it_does_not_know(trained_adapter, tmp_path):
    folder = shutil.copytree(trained_adapter, tmp_path / "adapter")
    known = set(shared_files(folder, "a/b", "acme/toy"))
    for name in (
        "id_rsa",
        ".env",
        "train.csv",
        "model-secret.safetensors",
        "adapter_model.bin",
        "optimizer.pt",
        "a.py",
    ):
        (folder / name).write_text("secret")
    assert set(shared_files(folder, "a/b", "acme/toy")) == known


# Texts


class Tags(HTMLParser):
    """Every tag of a page with the names of its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, *(name for name, _ in attributes)))


def page(tmp_path, text):
    """The report's page of a system and a run in which every free text is `text`, as its tags."""
    folder = tmp_path / text[:1].replace("<", "attack")
    (folder / "run").mkdir(parents=True)
    rows = [(f"{text}{i}", f"#Person1#: {text}\n#Person2#: {i}", f"{text} {i}", text) for i in range(3)]
    write_csv(folder / "dev.csv", rows)
    how = {"model": text, "adapter": str(folder / "run"), "decoding": {text: text}, text: text}
    write_predictions(folder / "system", [row[0] for row in rows], [f"{text}!"] * 3, how)
    history = [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    (folder / "run" / "trainer_state.json").write_text(json.dumps({"log_history": history}), encoding="utf-8")
    record = {"method": text, "dtype": text, "settings": {text: text}}
    (folder / "run" / "dialsum.json").write_text(json.dumps(record), encoding="utf-8")
    flags = ["--systems", f"{text}={folder / 'system'}", "--title", text, "--note", text, "--bootstrap", "10"]
    report({}, [*flags, "--test_file", str(folder / "dev.csv"), "--output_file", str(folder / "report.html")])
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_of_a_report_has_no_other_tags_or_attributes_whatever_its_texts_say(tmp_path):
    harmless, attacked = page(tmp_path, "글"), page(tmp_path, ATTACK)
    assert set(Tags(attacked).found) <= set(Tags(harmless).found)
    assert "<script" not in attacked
    assert "&lt;script&gt;" in attacked


def test_a_record_writes_neither_markup_nor_code_into_the_card(trained_adapter, tmp_path):
    folder = shutil.copytree(trained_adapter, tmp_path / "adapter")
    record = json.loads((folder / "dialsum.json").read_text(encoding="utf-8"))
    code = '"); import os; os.system("touch owned"); ("'
    record |= {"method": ATTACK, "dtype": code, "stop_tokens": ["```\n" + code], "versions": {"trl": ATTACK}}
    record["settings"] = {ATTACK: ATTACK + "\n\n# heading\n| a | b |"}
    record["data"] = {"rows": 3, "file": ATTACK}
    (folder / "dialsum.json").write_text(json.dumps(record), encoding="utf-8")
    card = shared_files(folder, "tester/x", "acme/toy")["README.md"].decode()
    assert "<script" not in card and "<img" not in card and "\n# heading" not in card
    [snippet] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Call)}
    assert not [name for name in calls if name.startswith("os.")]


@pytest.mark.parametrize("base", ['x/y"); evil("', "a/b/c", "x/<b>", "../x"])
def test_a_base_that_is_no_repository_is_not_written_into_a_card(base, trained_adapter):
    with pytest.raises(InputError, match="--base owner/name"):
        shared_files(trained_adapter, "a/b", base)


def test_a_record_that_lacks_what_the_card_needs_is_one_line(trained_adapter, tmp_path):
    folder = shutil.copytree(trained_adapter, tmp_path / "adapter")
    (folder / "dialsum.json").write_text('{"base_model": "x", "base_origin": {"repo_id": null, "commit": null}}')
    before = snapshot(folder)
    with pytest.raises(InputError, match=r"dialsum\.json: lacks method, "):
        shared_files(folder, "a/b", "acme/toy")
    assert snapshot(folder) == before
