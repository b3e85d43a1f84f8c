"""Names and texts that macOS decomposed (NFD) are the ones a reader sees, and their summaries score as they look."""

import unicodedata

import pytest

from dialsum_trl.cli.score import configurations
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.data.predictions import System
from dialsum_trl.data.submission import check_template, read_aligned, write_submission
from dialsum_trl.data.unicode_forms import in_forms_of
from dialsum_trl.metrics.rouge import RougeConfig, score
from dialsum_trl.metrics.tokens import tokenize
from tests.checked_files import GOOD, checked, has
from tests.row_files import message, read_csv, row, write_csv

TEXT = "호킨스 의사는 매년 건강검진을 권장합니다."
FORMS = ("NFC", "NFD")


def decomposed(text):
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize("form", FORMS)
def test_a_column_is_found_in_either_form(tmp_path, form):
    header = ["fname", unicodedata.normalize(form, "대화"), "summary"]
    path = write_csv(tmp_path / "a.csv", [("a", "#Person1#: 네", "요약")], header)
    for given in FORMS:
        columns = {"dialogue": unicodedata.normalize(given, "대화")}
        assert read_dialogues(path, columns=columns)[0] == row("a", "#Person1#: 네", ["요약"])


def test_a_column_in_the_form_that_was_given_goes_before_the_other(tmp_path):
    header = ["fname", "대화", decomposed("대화"), "summary"]
    path = write_csv(tmp_path / "a.csv", [("a", "#Person1#: 네", "#Person1#: 응", "요약")], header)
    for name, said in (("대화", "네"), (decomposed("대화"), "응")):
        assert read_dialogues(path, columns={"dialogue": name})["dialogue"][:] == [f"#Person1#: {said}"]


def test_fix_cleans_a_column_in_the_other_form_in_its_place(tmp_path, capsys):
    train = write_csv(
        tmp_path / "a.csv", [("a", GOOD.replace("\n", "\\n"), "요약")], ("fname", decomposed("대화"), "summary")
    )
    assert checked(capsys, train, columns={"dialogue": "대화"}, fix=tmp_path / "fixed.csv")[0]
    assert read_csv(tmp_path / "fixed.csv") == [["fname", decomposed("대화"), "summary"], ["a", GOOD, "요약"]]


def test_a_file_whose_name_has_the_other_form_is_named(tmp_path):
    (tmp_path / decomposed("학습.csv")).touch()
    assert f"but {decomposed('학습.csv')} there does, the same name in another Unicode form" in message(
        read_dialogues, tmp_path / "학습.csv"
    )


def test_ids_are_matched_in_either_form(tmp_path):
    names = ["대화_0", decomposed("대화_1"), "test_2"]
    write_submission(tmp_path / "s.csv", names, ["하나", "둘", "셋"])
    assert read_aligned(tmp_path / "s.csv", [decomposed("대화_1"), "test_2", decomposed("대화_0")]) == [
        "둘",
        "셋",
        "하나",
    ]


def test_a_template_in_the_other_form_is_filled_in_its_own(tmp_path):
    template = write_csv(tmp_path / "t.csv", [(decomposed("대화_1"), ""), ("대화_0", "")], ("fname", "summary"))
    check_template(template, ["대화_0", "대화_1"])
    write_submission(tmp_path / "s.csv", [decomposed("대화_0"), "대화_1"], ["하나", "둘"], template)
    assert (tmp_path / "s.csv").read_text("utf-8") == f"fname,summary\n{decomposed('대화_1')},둘\n대화_0,하나\n"


def test_ids_that_are_there_in_both_forms_stay_two():
    both = ["대화", decomposed("대화")]
    assert in_forms_of(both, both) == both
    assert in_forms_of(["대화"], both) == both
    assert in_forms_of(both, ["네"]) == ["네"]


def test_a_system_of_the_report_takes_the_names_of_the_rows():
    system = System("sft", {decomposed("대화_0"): "하나"}, {decomposed("대화_0"): 3}, {}, {}).named_as(["대화_0"])
    assert (system.summaries, system.tokens, system.hit_limit) == ({"대화_0": "하나"}, {"대화_0": 3}, {})


@pytest.mark.parametrize("config", [RougeConfig(), RougeConfig("whitespace"), RougeConfig("char", "atomic")], ids=str)
def test_texts_that_look_alike_score_100(config):
    for prediction, reference in ((TEXT, decomposed(TEXT)), (decomposed(TEXT), TEXT)):
        assert score([prediction], [[reference]], config, bootstrap=0).mean == pytest.approx(100)
    assert config.tokens(decomposed(TEXT)) == config.tokens(TEXT)


def test_decomposed_references_are_korean():
    assert configurations([[decomposed(TEXT)]])[0].tokenizer == "mecab"
    assert "drops Hangul" in message(score, [TEXT], [[decomposed(TEXT)]], RougeConfig("english"))


def test_tokens_of_composed_text_are_what_they_were():
    assert tokenize("각 ㄱ 가", "char") == ("각", "ㄱ", "가")


def test_decomposed_summaries_are_a_warning_and_stay_untouched(tmp_path, capsys):
    train = write_csv(tmp_path / "train.csv", [("a", GOOD, decomposed("회의 시간을 묻는다."))])
    ready, lines = checked(capsys, train)
    assert ready and has(lines, "warning", "summaries with decomposed Hangul (NFD), which a model learns to write")
    assert read_dialogues(train)["summaries"][:] == [[decomposed("회의 시간을 묻는다.")]]
