"""Files for `dialsum check`, and what it says of them."""

import csv
import json

from dialsum_trl.cli.check import check_files

GOOD = "#Person1#: 안녕하세요. 오늘 회의는 몇 시에 시작하나요?\n#Person2#: 오후 두 시에 시작합니다."


def write(path, rows, header=("fname", "dialogue", "summary")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def checked(capsys, *files, **kwargs):
    """Whether the files are ready, and the lines that were printed."""
    ready = check_files(list(files), **kwargs)
    return ready, capsys.readouterr().out.splitlines()


def has(lines, level, text):
    return any(line.startswith(level) and text in line for line in lines)
