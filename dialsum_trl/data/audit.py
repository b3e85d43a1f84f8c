"""What is wrong or odd in the rows of a data file: every problem counted, with examples, none of them raised."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from dialsum_trl.data.cleaning import clean_dialogue, normalized, oddity, unwritable
from dialsum_trl.data.patterns import ANY_MASK, KNOWN_MASKS, SYLLABLE, TURN
from dialsum_trl.data.tables import Row, name_of

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
    kept: list[Row]  # the source rows of `rows`
    has_references: bool  # of any row, usable or not
    names: dict[str, str]  # role -> column


def audit_rows(table: list[Row], names: dict[str, str]) -> Audit:
    """Examines every row.

    Args:
        table: all rows of a file, at least one.
        names: role -> column (`dialogues.resolve_columns`).
    """
    columns = list(table[0].values)
    references = [role for role in REFERENCES if role in names]
    has_references = any(str(row.values.get(names[role]) or "").strip() for row in table for role in references)
    found: dict[tuple[str, str], list[str]] = {}
    masks, dialogues, seen = Counter(), {}, set()
    rows, kept = [], []

    def report(level: str, text: str) -> None:
        nonlocal usable
        usable &= level != "error"
        found.setdefault((level, text), []).append(label)

    def text_of(role: str) -> str | None:
        """Text, "" where there is none, or None where something else is (which is reported)."""
        value = source.values.get(names[role])
        value = name_of(value) if role == "fname" else value
        if value is not None and not isinstance(value, str):
            report("error", f"rows whose {names[role]} is no text")
            return None
        if unwritable(value or ""):
            report("error", f"rows whose {names[role]} holds a NUL or half a surrogate pair")
        return value or ""

    for source in table:
        name = source.values.get(names["fname"])
        label = str(name).strip() if isinstance(name, str | int) else ""
        label, usable = label or f"row {source.number}", True
        fname, raw, texts = text_of("fname"), text_of("dialogue"), [text_of(role) for role in references]
        if "topic" in names:
            text_of("topic")
        fname, dialogue = fname and fname.strip(), clean_dialogue(raw or "")
        summaries = [text for text in texts if text and text.strip()]
        if fname == "":
            report("error", f"rows without {names['fname']}")
        elif fname in seen:
            report("error", f"rows whose {names['fname']} an earlier row has")
        if not dialogue and raw is not None:
            report("error", "rows without a dialogue")
        if has_references and not summaries and None not in texts:
            report("error", "rows without a summary")
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
            key = normalized(dialogue)
            if key in dialogues:
                report("warning", "rows whose dialogue an earlier row has")
            dialogues.setdefault(key, label)
        if usable:
            rows.append({"fname": fname, "dialogue": dialogue, "summaries": summaries})
            kept.append(source)
    findings = [Finding(level, text, labels) for (level, text), labels in found.items()]
    unknown = {mask: count for mask, count in masks.most_common() if mask not in KNOWN_MASKS}
    if unknown:
        shown = ", ".join(f"{mask} x{count}" for mask, count in list(unknown.items())[:5])
        findings.append(Finding("warning", f"masks that DialogSum does not have: {shown}"))
    known = ", ".join(f"{mask} {masks[mask]:,}" for mask in sorted(KNOWN_MASKS & set(masks)))
    findings.append(Finding("note", f"masks: {known or 'none'}"))
    order = ("error", "warning", "note")
    findings.sort(key=lambda finding: order.index(finding.level))
    return Audit(columns, len(table), findings, rows, kept, has_references, names)


def _unclean(raw: str) -> Iterator[tuple[str, str]]:
    if not unicodedata.is_normalized("NFC", raw):
        yield "note", "decomposed Hangul (cleaned on reading)"
    for name, pattern in UNCLEAN.items():
        if pattern.search(raw):
            yield "note", f"{name} (cleaned on reading)"


def _turns(dialogue: str) -> Iterator[tuple[str, str]]:
    lines = dialogue.split("\n") if dialogue else []
    if any(not TURN.match(line) for line in lines):
        yield "warning", "dialogues with a line that starts with no speaker (#PersonN#: ...)"
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
