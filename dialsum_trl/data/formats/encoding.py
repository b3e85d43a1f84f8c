"""Text files in the encodings that Korean files have: UTF-8, UTF-16 with its mark, CP949; any other is an error."""

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path

from dialsum_trl.core.console import is_main_process, printable
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.patterns import SYLLABLE

_CHUNK = 1 << 20  # bytes
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SHOWN = {"utf-16": "UTF-16", "cp949": "CP949 (as Excel writes Korean on Windows)"}


def encoding_of(path: Path) -> str:
    """`utf-8-sig`, `utf-16` or `cp949`; one line on stderr says which where it is not UTF-8.

    The whole file is decoded once, a piece at a time, so that no row is read from one that is damaged further down.
    """
    with path.open("rb") as file:
        encoding = _MARKS.get(file.read(2), "utf-8-sig")
    problem = _first_problem(path, encoding)
    if problem and encoding == "utf-8-sig" and not problem.korean_before and not _first_problem(path, "cp949"):
        encoding, problem = "cp949", None
    if problem:
        raise InputError(
            f"{path}: line {problem.line}, byte {problem.at} (0x{problem.byte:02x}) is not "
            f"{'UTF-16' if encoding == 'utf-16' else 'UTF-8, nor is the file CP949'}; export it again as UTF-8, or "
            f"convert it: iconv -f ENCODING -t utf-8 {path} > utf8{path.suffix}"
        )
    if encoding in _SHOWN and is_main_process():
        print(printable(f"{path}: read as {_SHOWN[encoding]}"), file=sys.stderr)
    return encoding


class _Problem:
    """The first byte that cannot be decoded, and whether Hangul was decoded before it."""

    def __init__(self, at: int, byte: int, line: int, korean_before: bool):
        self.at, self.byte, self.line, self.korean_before = at, byte, line, korean_before


def _first_problem(path: Path, encoding: str) -> _Problem | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    before, lines, korean = 0, 1, False
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                start = before + error.start - (len(error.object) - len(chunk))
                good = error.object[: error.start]
                korean = korean or bool(SYLLABLE.search(good.decode(encoding, "ignore")))
                return _Problem(start, error.object[error.start], lines + good.count(b"\n"), korean)
            if not chunk:
                return None
            before += len(chunk)
            lines += text.count("\n")
            korean = korean or bool(SYLLABLE.search(text))


def text_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Lines with their line endings (LF alone ends one), numbered from 1; one line in memory at a time."""
    with path.open(encoding=encoding, newline="\n") as file:
        for number, text in enumerate(file, start=1):
            if "\0" in text:
                raise InputError(
                    f"{path}: line {number} holds a NUL byte, so this is not a text file or it is damaged; export it "
                    f"again, or remove them: tr -d '\\000' < {path} > fixed{path.suffix}"
                )
            yield number, text.lstrip("\ufeff") if number == 1 else text  # two where it was saved with one again
