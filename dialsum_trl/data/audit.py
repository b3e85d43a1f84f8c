"""What is wrong or odd in the rows of a data file: every problem counted, with examples, none of them raised."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.cleaning import clean_dialogue, normalized, oddity, unwritable
from dialsum_trl.data.formats.row import Row
from dialsum_trl.data.layouts import as_text
from dialsum_trl.data.patterns import ANY_MASK, KNOWN_MASKS, SPOKEN, SYLLABLE
from dialsum_trl.data.tables import name_of

REFERENCES = ("summary", "summary1", "summary2", "summary3")
UNCLEAN = {  # what cleaning repairs, told apart for the report
    r"literal \n or \r": re.compile(r"\\[nr]"),
    "<br> tags": re.compile(r"<\s*/?\s*br\s*/?\s*>", re.IGNORECASE),
    "carriage returns": re.compile("\r"),
    "runs of spaces": re.compile(r"[^\S\n]{2,}"),
    "invisible characters": re.compile("[\u200b\u2060\ufeff]"),
    "turns that start in the middle of a line": re.compile(r"[^\n\s][^\S\n]*#Person\d+#\s*[:：]"),
    "speakers that are no #PersonN#": re.compile(
        r"^(?!#Person\d+#)#?[^\S\n]*(?:person|사람)[^\S\n]*\d+[^\S\n]*#?[^\S\n]*[:：]", re.IGNORECASE | re.MULTILINE
    ),
}


@dataclass
class Finding:
    """One kind of problem: `level` is error (training refuses it), warning, or note (repaired, or harmless)."""

    level: str
    text: str
    rows: list[str] = field(default_factory=list)  # fname, or "row 7" where there is none


@dataclass
class Audit:
    """Findings of one file and its usable rows (`fname`, `dialogue` cleaned, `summaries`) as training reads them."""

    columns: list[str]
    total: int
    findings: list[Finding]
    rows: list[dict]
    kept: list[int]  # the numbers of `rows` in their file
    has_references: bool  # of any row, usable or not


def audit_rows(table: Iterable[tuple[Row, dict[str, str]]]) -> Audit:
    """Examines every row.

    Args:
        table: rows of a file with role -> column (`dialogues.named_rows`), at least one.
    """
    columns: list[str] = []
    total = 0
    without: list[str] = []  # usable but for a reference
    found: dict[tuple[str, str], list[str]] = {}
    masks, dialogues, seen, counts = Counter(), set(), set(), Counter()
    rows, kept = [], []

    def report(level: str, text: str) -> None:
        nonlocal usable
        usable &= level != "error"
        found.setdefault((level, text), []).append(label)

    def text_of(role: str) -> str | None:
        """Text, "" where there is none, or None where something else is (which is reported)."""
        value = source.values.get(names[role])
        with suppress(InputError):  # stays a list, which is no text
            value = name_of(value) if role == "fname" else as_text(value, role)
        if value is not None and not isinstance(value, str):
            report("error", f"rows whose {names[role]} is no text")
            return None
        if unwritable(value or ""):
            report("error", f"rows whose {names[role]} holds a NUL or half a surrogate pair")
        return value or ""

    for source, names in table:
        columns, total = columns or list(source.values), total + 1
        references = [role for role in REFERENCES if role in names]
        name = source.values.get(names["fname"])
        label = str(name).strip() if isinstance(name, str | int) else ""
        label, usable = label or f"row {source.number}", True
        fname, raw, texts = text_of("fname"), text_of("dialogue"), [text_of(role) for role in references]
        if "topic" in names:
            text_of("topic")
        fname, dialogue = fname and fname.strip(), clean_dialogue(raw or "")
        summaries = [text for text in texts if text and text.strip()]
        counts[len(summaries)] += 1
        if fname == "":
            report("error", f"rows without {names['fname']}")
        elif fname in seen:
            report("error", f"rows whose {names['fname']} an earlier row has")
        if not dialogue and raw is not None:
            report("error", "rows without a dialogue")
        if not summaries and None not in texts:
            without.append(label)
        if fname:
            seen.add(fname)
        for level, text in [*_unclean(raw or ""), *_turns(dialogue), *_summaries(dialogue, summaries)]:
            report(level, text)
        for role, text in {"dialogue": dialogue, **dict(zip(references, texts, strict=True))}.items():
            if odd := oddity(text or ""):
                report("warning", f"rows whose {names[role]} {odd}")
        for text in (dialogue, *summaries):
            masks.update(ANY_MASK.findall(text))
        if dialogue:
            key = hash(normalized(dialogue))
            if key in dialogues:
                report("warning", "rows whose dialogue an earlier row has")
            dialogues.add(key)
        if usable:
            rows.append({"fname": fname, "dialogue": dialogue, "summaries": summaries})
            kept.append(source.number)
    has_references = counts[0] < total
    findings = [Finding(level, text, labels) for (level, text), labels in found.items()]
    if has_references and without:
        findings.append(Finding("error", "rows without a summary", without))
        pairs = [(row, number) for row, number in zip(rows, kept, strict=True) if row["summaries"]]
        rows, kept = [row for row, _ in pairs], [number for _, number in pairs]
    if max(counts) > 1:
        shown = ", ".join(f"{counts[n]:,} rows with {n}" for n in sorted(counts, reverse=True))
        findings.append(Finding("note", f"references: {shown}"))
    findings += _mask_findings(masks)
    order = ("error", "warning", "note")
    findings.sort(key=lambda finding: order.index(finding.level))
    return Audit(columns, total, findings, rows, kept, has_references)


def _mask_findings(masks: Counter) -> Iterator[Finding]:
    unknown = {mask: count for mask, count in masks.most_common() if mask not in KNOWN_MASKS}
    if unknown:
        shown = ", ".join(f"{mask} x{count}" for mask, count in list(unknown.items())[:5])
        yield Finding("warning", f"masks that DialogSum does not have: {shown}")
    known = ", ".join(f"{mask} {masks[mask]:,}" for mask in sorted(KNOWN_MASKS & set(masks)))
    yield Finding("note", f"masks: {known or 'none'}")


def _unclean(raw: str) -> Iterator[tuple[str, str]]:
    if not unicodedata.is_normalized("NFC", raw):
        yield "note", "decomposed Hangul (cleaned on reading)"
    for name, pattern in UNCLEAN.items():
        if pattern.search(raw):
            yield "note", f"{name} (cleaned on reading)"


def _turns(dialogue: str) -> Iterator[tuple[str, str]]:
    lines = dialogue.split("\n") if dialogue else []
    if any(not SPOKEN.match(line) for line in lines):
        yield "warning", "dialogues with a line that starts with no speaker (#Person1#: ..., a name and a colon)"
    if len(lines) == 1:
        yield "warning", "dialogues of a single line; were the turn breaks lost?"
    if dialogue and not SYLLABLE.search(dialogue):
        yield "warning", "dialogues without Korean"


def _summaries(dialogue: str, summaries: list[str]) -> Iterator[tuple[str, str]]:
    spoken = set(ANY_MASK.findall(dialogue))
    if any(set(ANY_MASK.findall(text)) - spoken for text in summaries):
        yield "warning", "summaries with a mask that their dialogue does not have"
    if dialogue and any(len(text) >= len(dialogue) for text in summaries):
        yield "warning", "summaries not shorter than their dialogue"
    if not all(unicodedata.is_normalized("NFC", text) for text in summaries):
        yield "warning", "summaries with decomposed Hangul (NFD), which a model learns to write; compose them (NFC)"
    if any("\n" in text.strip() for text in summaries):
        yield "note", "summaries of several lines"
