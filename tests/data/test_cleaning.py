"""Dirt in dialogues is cleaned to one turn a line; clean text stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_trl.data.cleaning import clean_dialogue
from tests.row_files import fuzz


@pytest.mark.parametrize(
    "dirty",
    [
        "#Person1#: 안녕\\n#Person2#: 네",
        "#Person1#: 안녕<br>#Person2#: 네",
        "#Person1#: 안녕 <BR /> #Person2#: 네",
        "#Person1#: 안녕\r\n#Person2#: 네\r",
        "#Person1#: 안녕\r#Person2#: 네",
        "#Person1#:  안녕 \u3000 \n\n #Person2#:네",
        "#Person1#: 안녕 #Person2#: 네",
        "#Person1#: 안녕#Person2# : 네\u200b",
        "#person1#: 안녕\u2028#Person2#： 네",
        " Person1: 안녕\n#사람2#: 네",
        "#Person1#: 안녕\n#Person2#: 네",
    ],
)
def test_dirt_is_cleaned_to_one_turn_a_line(dirty):
    assert clean_dialogue(dirty) == "#Person1#: 안녕\n#Person2#: 네"


@pytest.mark.parametrize(
    "text",
    [
        "#Person1#: #Person2#에게 #PhoneNumber#로 전화하세요.",
        "#Person1#: 저는 Person1이 아니에요. a<b, 3 > 2",
        "#Person1#: 첫 줄\n둘째 줄",
        "#Person12#: 우리는 세계 & <breakfast>",
    ],
)
def test_clean_text_stays_as_it_is(text):
    assert clean_dialogue(text) == text


def test_decomposed_hangul_is_composed():
    assert clean_dialogue("\u1112\u1161\u11ab\u1100\u1173\u11af") == "한글"


@fuzz
@given(st.text(st.sampled_from("#Person사람1:： \\nrbBR<>/\r\n\t\u200b\u2028\u0301a네"), max_size=40))
def test_cleaning_twice_changes_nothing_more(text):
    once = clean_dialogue(text)
    assert clean_dialogue(once) == once
    assert not any(char in once for char in "\r\t\u2028\u200b") and "  " not in once
