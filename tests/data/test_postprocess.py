"""Post-processing: what each rule repairs, what it leaves alone, and what it is worth on dev."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.patterns import MASK
from dialsum_trl.data.submission import read_predictions, write_submission
from dialsum_trl.data.summary_rules import (
    RULES,
    apply,
    broken_characters,
    first_paragraph,
    foreign_script,
    label,
    masks,
    repeated_sentences,
    strip,
    unfinished_sentence,
)
from dialsum_trl.stages.jobs.postprocess import helping, print_deltas, rule_deltas
from dialsum_trl.stages.postprocess import postprocess

DIALOGUE = "#Person1#: 안녕하세요, Tom입니다.\n#Person2#: #Email#로 보내 주세요.\n#Person12#: 东京이요."
DONE = "#Person1#은 인사한다. #Person2#는 메일을 부탁한다."


def test_strip_leaves_single_spaces():
    assert strip("  #Person1#은   간다. \n") == "#Person1#은 간다."


def test_the_first_paragraph_is_kept_on_one_line():
    assert first_paragraph(f"{DONE}\n\n이 요약은 다음과 같다.") == DONE
    assert first_paragraph(f"요약은 다음과 같습니다:\n\n{DONE}\n\n끝.") == DONE
    assert first_paragraph("한 줄.\n둘째 줄.") == "한 줄. 둘째 줄."


@pytest.mark.parametrize("head", ["요약: ", "**요약**: ", "Summary:\n", "### Response: ", "대화 요약 : ", "**요약:** "])
def test_a_label_is_taken_off(head):
    assert label(head + DONE) == DONE


def test_half_a_letter_goes_and_whole_ones_stay():
    assert broken_characters("만나자고\ufffd. 그래 \ufffd\ufffd") == "만나자고. 그래"
    assert broken_characters(DONE) == DONE


def test_a_label_that_stands_twice_is_taken_off_twice():
    assert label("요약: 요약문: " + DONE) == DONE


def test_a_summary_without_a_label_stays():
    assert label("요약을 부탁한다: 내일까지.") == "요약을 부탁한다: 내일까지."


def test_an_unfinished_last_sentence_goes():
    assert unfinished_sentence(f"{DONE} #Person1#은 그래서 내") == DONE
    assert unfinished_sentence("값은 3.5달러이다. 그리고") == "값은 3.5달러이다."


@pytest.mark.parametrize("text", [DONE, "그는 간다. 그리고 온다", "그래서 내", '그는 "간다."', "값은 3.5달러이다."])
def test_finished_or_only_sentences_stay(text):
    assert unfinished_sentence(text) == text


def test_repeated_sentences_are_said_once():
    assert repeated_sentences("그는 간다. 그녀는 온다. 그는 간다. 그는  간다!") == "그는 간다. 그녀는 온다."
    assert repeated_sentences("그는 간다.  그녀는 온다.") == "그는 간다.  그녀는 온다."
    assert repeated_sentences("간다.간다.간다.") == "간다."


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith는 진료를 한다. Dr. Smith는 퇴근한다.",
        "Mr. Lee가 묻는다. Mr. Lee가 답한다.",
        "오후 3 p.m. 이다. 저녁 8 p.m. 이다.",
    ],
)
def test_an_abbreviation_ends_no_sentence(text):
    assert repeated_sentences(text) == text


@pytest.mark.parametrize(
    ("broken", "restored"),
    [
        ("# Person 1 #은 간다", "#Person1#은 간다"),
        ("#Person1은 간다", "#Person1#은 간다"),
        ("Person1#은 간다", "#Person1#은 간다"),
        ("Person1은 Person2에게 준다", "#Person1#은 #Person2#에게 준다"),
        ("#person1#은 ＃Person2＃와 간다", "#Person1#은 #Person2#와 간다"),
        ("#사람1#은 간다", "#Person1#은 간다"),
        ("#Person1# 은 #Person2# 에게 준다", "#Person1#은 #Person2#에게 준다"),
        ("#Person1과 #Person2는", "#Person1#과 #Person2#는"),
        ("Person1 #Person2#에게", "#Person1# #Person2#에게"),
        ("#Person1#Person2#는", "#Person1##Person2#는"),
        ("#Person12 는", "#Person12#는"),
        ("# Email #로 보낸다", "#Email#로 보낸다"),
    ],
)
def test_broken_masks_are_restored(broken, restored):
    assert masks(broken, DIALOGUE) == restored


@pytest.mark.parametrize(
    "text",
    [
        DONE,
        "#Person1#Tom은 #Person2# 이 책을 준다",
        "사람 1명이 Email을 쓴다",
        "# Person 3 #은 #Person4은 Person5는",  # nobody whom the dialogue lacks
        "#PhoneNumber 로 #Person11#",
    ],
)
def test_right_masks_words_and_absent_speakers_stay(text):
    assert masks(text, DIALOGUE) == text


def test_without_a_dialogue_no_mask_is_touched():
    assert masks("# Person 1 #은", None) == "# Person 1 #은"


pieces = st.lists(
    st.sampled_from(["#", "＃", " ", "Person", "person", "사람", "1", "2", "3", "12", "Email", "은", "가 "])
)


@settings(max_examples=200, deadline=None)
@given(pieces.map("".join))
def test_mask_repair_invents_nobody_and_loses_nobody(text):
    before, after, known = (Counter(MASK.findall(each)) for each in (text, masks(text, DIALOGUE), DIALOGUE))
    assert set(after) <= set(known) | set(before)
    assert all(after[mask] >= before[mask] for mask in known)


def test_foreign_letters_go_and_names_stay():
    assert foreign_script("의사(医生)는 Tom에게 健康검진을 권한다 .", DIALOGUE) == "의사는 Tom에게 검진을 권한다."
    assert foreign_script("東Иか", DIALOGUE) == ""
    assert foreign_script("2ℓ 물과 1º, ㅋㅋ", DIALOGUE) == "2ℓ 물과 1º, ㅋㅋ"
    assert foreign_script("东京에서 José와 β값을 3µm 잰다 😀", DIALOGUE) == "东京에서 José와 β값을 3µm 잰다 😀"


def test_rules_are_applied_in_their_order_and_never_leave_nothing():
    text = "요약: # Person 1 #은 간다. # Person 1 #은 간다. 그리고\n\n끝."
    assert apply(text, reversed(list(RULES)), DIALOGUE) == "#Person1#은 간다."
    assert apply("Привет", RULES, DIALOGUE) == "Привет"
    assert apply(text, [], DIALOGUE) == text


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_no_rule_empties_a_summary(text):
    assert bool(apply(text, RULES, DIALOGUE)) == bool(text)


def test_an_unknown_rule_is_an_error_with_the_closest():
    with pytest.raises(InputError, match=r"'mask'; did you mean masks\?"):
        apply("x", ["mask"])


def test_each_rule_is_measured_apart_and_those_that_help_are_named(capsys):
    references = [[f"#Person1#은 {n}시에 집에 간다."] for n in range(30)]
    dialogues = ["#Person1#: 집에 갈게."] * 30
    broken = [f"# Person 1 #은 {n}시에 집에 간다. 그리고 #Person1#은 학" for n in range(30)]
    deltas = rule_deltas(broken, references, dialogues)
    by_name = {delta.rule: delta for delta in deltas}
    assert list(by_name) == [*RULES, "all"]
    assert by_name["foreign_script"].changed == 0 and by_name["foreign_script"].comparison.delta == 0
    assert by_name["unfinished_sentence"].changed == 30 and by_name["unfinished_sentence"].comparison.interval[0] > 0
    assert "unfinished_sentence" in helping(deltas) and "foreign_script" not in helping(deltas)
    assert by_name["all"].comparison.b.mean == pytest.approx(100)
    print_deltas(deltas)
    table = " ".join(capsys.readouterr().out.split())
    assert "masks split" in table and "rules that help:" in table and "30 rows" in table
    with pytest.raises(InputError, match="30 summaries for 1 dialogues"):
        rule_deltas(broken, references, dialogues[:1])


def test_the_command_prints_every_delta_and_writes_what_helps(tmp_path, capsys):
    names = [f"dev_{n}" for n in range(20)]
    lines = [f"{name},#Person1#: 집에 갈게.,#Person1#은 {n}시에 집에 간다." for n, name in enumerate(names)]
    (tmp_path / "dev.csv").write_text("\n".join(["fname,dialogue,summary", *lines]), encoding="utf-8")
    broken = [f"#Person1#은 {n}시에 집에 간다. 그리고 #Person1#은 학" for n in range(20)]
    write_submission(tmp_path / "p.csv", names, broken)
    argv = ["--prediction_file", str(tmp_path / "p.csv"), "--test_file", str(tmp_path / "dev.csv")]
    result = postprocess({}, argv)
    assert result["rules"] == [] and result["summaries"] == broken
    assert "unfinished_sentence" in capsys.readouterr().out
    result = postprocess({}, [*argv, "--rules", "helping", "--output_file", str(tmp_path / "out.csv")])
    assert result["rules"] == ["unfinished_sentence"]
    assert read_predictions(tmp_path / "out.csv")["dev_3"] == "#Person1#은 3시에 집에 간다."


@pytest.fixture
def command(tmp_path):
    """The flags of a measurement on one row of dev."""
    (tmp_path / "dev.csv").write_text("fname,dialogue,summary\na,#Person1#: 네,#Person1#은 답한다.\n", encoding="utf-8")
    write_submission(tmp_path / "p.csv", ["a"], ["# Person1 #은 답한다."])
    return ["--prediction_file", str(tmp_path / "p.csv"), "--test_file", str(tmp_path / "dev.csv")]


def test_rules_without_an_output_file_say_that_nothing_is_written(tmp_path, command, capsys):
    assert postprocess({}, [*command, "--rules", "masks"])["summaries"] == ["#Person1#은 답한다."]
    assert "nothing is written: --output_file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("dev.csv", None, r"dev\.csv, which this command reads"),
        ("p.csv", None, r"p\.csv, which this command reads"),
        ("copy.csv", "fname,dialogue,summary\n", r"is no submission \(its first line is 'fname,dialogue,summary'\)"),
        ("repaired.jsonl", None, r"a submission is a \.csv file"),
        ("", None, "is a folder"),
        ("dev.csv/x.csv", None, r"dev\.csv is no folder"),
    ],
)
def test_repaired_summaries_replace_nothing_but_summaries(tmp_path, command, capsys, name, content, expected):
    if content:
        (tmp_path / name).write_text(content, encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=expected):
        postprocess({}, [*command, "--rules", "masks", "--output_file", str(tmp_path / name)])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert "post-processing on" not in capsys.readouterr().out  # refused before anything is computed


def test_repaired_summaries_may_replace_earlier_ones_of_the_same_template(tmp_path, command):
    (tmp_path / "template.csv").write_text(",fname,summary\n0,a,\n", encoding="utf-8")
    output = ["--rules", "masks", "--output_file", str(tmp_path / "out.csv")]
    postprocess({}, [*command, *output])
    for _ in range(2):
        postprocess({}, [*command, *output, "--template", str(tmp_path / "template.csv")])
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == ",fname,summary\n0,a,#Person1#은 답한다.\n"
    with pytest.raises(InputError, match="which this command reads"):
        flags = ["--rules", "masks", "--template", str(tmp_path / "template.csv")]
        postprocess({}, [*command, *flags, "--output_file", str(tmp_path / "template.csv")])


def test_a_rule_that_is_none_is_refused_before_the_table(command, capsys):
    with pytest.raises(InputError, match=r"did you mean masks\?"):
        postprocess({}, [*command, "--rules", "mask"])
    assert capsys.readouterr().out == ""


def test_one_row_without_a_reference_is_named_where_nothing_is_scored_for_it(tmp_path, capsys):
    (tmp_path / "test.csv").write_text("fname,dialogue,summary\na,#Person1#: 네,가\nb,#Person1#: 응,\n", "utf-8")
    write_submission(tmp_path / "p.csv", ["a", "b"], ["가", "나"])
    argv = ["--prediction_file", str(tmp_path / "p.csv"), "--test_file", str(tmp_path / "test.csv")]
    postprocess({}, [*argv, "--rules", "strip", "--output_file", str(tmp_path / "out.csv")])
    said = " ".join(capsys.readouterr().out.split())
    assert "not scored: 1 of 2 rows of" in said and "the first is b; give it one" in said


def test_an_interval_needs_resamples(command):
    with pytest.raises(InputError, match="--bootstrap 0: must be at least 1"):
        postprocess({}, [*command, "--bootstrap", "0"])


def test_the_command_refuses_what_it_cannot_do(tmp_path):
    (tmp_path / "test.csv").write_text("fname,dialogue\na,#Person1#: 네\n", encoding="utf-8")
    write_submission(tmp_path / "p.csv", ["a"], ["가"])
    argv = ["--prediction_file", str(tmp_path / "p.csv"), "--test_file", str(tmp_path / "test.csv")]
    for more, expected in (
        (["--rules", "helping"], "lacks references"),
        ([], "no --rules: .*lacks references"),
        (["--output_file", "x.csv"], "needs --rules"),
        (["--rules", "stripp"], r"did you mean strip\?"),
    ):
        with pytest.raises(InputError, match=expected):
            postprocess({}, argv + more)
    with pytest.raises(InputError, match="give --prediction_file"):
        postprocess({}, [])
