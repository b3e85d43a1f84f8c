"""Files are whole or absent, and a place where none can come is one line."""

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_text


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "folder: is a folder; name a file in it"),
        ("file/x.csv", r"file is no folder"),
        ("file/deeper/x.csv", r"file is no folder"),
    ],
)
def test_a_place_where_no_file_can_come_is_one_line_and_leaves_nothing(tmp_path, place, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        write_text(tmp_path / place, "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "kept"


def test_folders_are_made_and_an_older_file_is_replaced(tmp_path):
    for text in ("one", "two"):
        write_text(tmp_path / "new" / "er" / "x.csv", text)
    assert (tmp_path / "new" / "er" / "x.csv").read_text(encoding="utf-8") == "two"
