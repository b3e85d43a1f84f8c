"""Text files in the encodings that Korean files have: UTF-8, UTF-16, CP949; any other is an error."""

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path

from dialsum_trl.core.console import is_main_process, printable
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.patterns import SYLLABLE

_CHUNK = 1 << 20  # bytes
_MARKS = {  # how a file begins; the mark of UTF-32 begins with one of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SHOWN = {
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 without its mark",
    "utf-16-be": "UTF-16 without its mark",
    "utf-32": "UTF-32",
    "cp949": "CP949 (as Excel writes Korean on Windows)",
}


def encoding_of(path: Path) -> str:
    """`utf-8-sig`, `cp949`, or one of UTF-16 and UTF-32; one line on stderr says which where it is not UTF-8.

    The whole file is decoded once, a piece at a time, so that no row is read from one that is damaged further down.
    """
    with path.open("rb") as file:
        start = file.read(1 << 12)
    encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), _without_mark(start))
    problem = _first_problem(path, encoding)
    if problem and encoding == "utf-8-sig" and not problem.korean_before:
        windows = _first_problem(path, "cp949")
        if windows is None:
            encoding, problem = "cp949", None
        else:
            problem.text += f", and {windows.text}"
    if problem:
        raise InputError(
            f"{path}: {problem.text}; export it again as UTF-8, or convert it: "
            f"iconv -f ENCODING -t utf-8 {path} > utf8{path.suffix}"
        )
    if encoding in _SHOWN and is_main_process():
        print(printable(f"{path}: read as {_SHOWN[encoding]}"), file=sys.stderr)
    return encoding


def _without_mark(start: bytes) -> str:
    """UTF-16 by the zeros of its spaces, digits and delimiters, which stand in one half of the pairs; else UTF-8."""
    low, high = sorted((start[half::2].count(0), half) for half in (0, 1))
    if high[0] <= max(4 * low[0], len(start) / 32, 2):  # a few syllables have a zero in the other half
        return "utf-8-sig"
    return "utf-16-le" if high[1] else "utf-16-be"


class _Problem:
    """The first byte that cannot be decoded, in words, and whether Hangul was decoded before it."""

    def __init__(self, at: int, byte: int, line: int, encoding: str, korean_before: bool):
        name = encoding.upper().removesuffix("-SIG")
        self.text, self.korean_before = f"line {line}, byte {at} (0x{byte:02x}) is not {name}", korean_before


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
                return _Problem(start, error.object[error.start], lines + good.count(b"\n"), encoding, korean)
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
