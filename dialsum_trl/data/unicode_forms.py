"""Names that are equal to a reader and differ in their Unicode form: macOS decomposes Hangul in names of files."""

import unicodedata
from collections import Counter
from collections.abc import Iterable


def composed(text: str) -> str:
    """The text in NFC, which is equal for canonically equal texts."""
    return unicodedata.normalize("NFC", text)


def other_form(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is `name` in another form; None where there is none, or more than one."""
    found = [other for other in names if other != name and composed(other) == composed(name)]
    return found[0] if len(found) == 1 else None


def in_forms_of(expected: Iterable[str], names: Iterable[str]) -> list[str]:
    """`names`, each as `expected` writes it where that is unambiguous, else as it is."""
    expected, names = set(expected), list(names)
    written: dict[str, list[str]] = {}
    for name in expected:
        written.setdefault(composed(name), []).append(name)
    times = Counter(map(composed, names))

    def form_of(name: str) -> str:
        forms = written.get(composed(name), [])
        return forms[0] if name not in expected and len(forms) == times[composed(name)] == 1 else name

    return [form_of(name) for name in names]
