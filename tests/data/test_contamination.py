"""Overlap of training and evaluation rows: equal rows are dropped or named, near copies are warned of."""

from dialsum_trl.data.cleaning import normalized
from dialsum_trl.data.contamination import check_disjoint, contamination_warnings, drop_shared, shared_rows
from dialsum_trl.data.dialogues import read_dialogues
from tests.row_files import DIALOGUE, message, row, write_csv


def test_rows_are_shared_by_text_whatever_the_name_and_layout():
    train = [row("train_1"), row("train_2", "#Person1#: 다른 대화")]
    evaluation = [
        row("dev_9", "#Person1#: 안녕하세요!  #Person2#: 네, 안녕하세요 반갑습니다"),
        row("dev_1", "#Person1#: 또"),
    ]
    assert shared_rows(train, evaluation) == [("train_1", "dev_9")]


def test_rows_with_equal_name_and_reference_are_shared_but_a_name_alone_is_not():
    evaluation = [row("a", "#Person1#: 하나")]
    assert shared_rows([row("a", "#Person1#: 둘")], evaluation) == [("a", "a")]
    assert shared_rows([row("a", "#Person1#: 둘", ["다른 요약"])], evaluation) == []


def test_check_disjoint_names_the_rows_and_drop_shared_removes_them(tmp_path):
    train = read_dialogues(write_csv(tmp_path / "t.csv", [("t1", DIALOGUE, "x", ""), ("t2", "#Person1#: 둘", "y", "")]))
    dev = read_dialogues(write_csv(tmp_path / "d.csv", [("d1", DIALOGUE + " ", "z", "")]))
    assert "1 training rows are also evaluation rows (t1 = d1)" in message(check_disjoint, train, dev)
    kept, pairs = drop_shared(train, dev)
    assert kept["fname"] == ["t2"] and pairs == [("t1", "d1")]
    check_disjoint(kept, dev)


def test_near_copies_are_warned_of_and_common_phrases_are_not():
    turns = [f"#Person{i % 2 + 1}#: 이것은 꽤 길고 서로 다른 {i}번째 문장입니다." for i in range(6)]
    common = "#Person1#: 네.\n#Person2#: 네, 알겠습니다."
    evaluation = [row("dev_1", "\n".join(turns)), row("dev_2", common)]
    changed = "\n".join([*turns[:4], "#Person1#: 바뀐 마지막 문장이 하나 있어요."])
    train = [row("train_1", changed), row("train_2", common + " 그럼요")]
    (warning,) = contamination_warnings(train, evaluation)
    assert "near copies" in warning and "train_1 and dev_1" in warning


def test_turns_that_many_dialogues_share_make_no_near_copy():
    formulas = "#Person1#: 무엇을 도와드릴까요, 손님?\n#Person2#: 여행 상품을 예약하려고 전화했습니다."
    train = [row(f"train_{n}", f"{formulas}\n#Person1#: 네.", [f"요약 {n}"]) for n in range(6)]
    assert contamination_warnings(train, [row("dev_1", f"{formulas}\n#Person1#: 아니요.")]) == []


def test_english_originals_of_a_korean_test_are_warned_of():
    train = [row("test_7", "#Person1#: Hello, how are you?"), row("train_1", "#Person1#: 새 대화")]
    (warning,) = contamination_warnings(train, [row("test_7", "#Person1#: 안녕하세요?", ["인사"])])
    assert "English originals" in warning and "test_7" in warning


def test_unrelated_rows_give_no_warning():
    assert contamination_warnings([row("a", "#Person1#: 하나")], [row("b", "#Person1#: 둘", ["y"])]) == []


def test_normalized_keeps_letters_and_digits_only():
    assert normalized(" #Person1#: ＡＢ 한글, 3! ") == "person1ab한글3"
