"""What is wrong or odd in the rows of a data file: every problem counted, with examples, none of them raised."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.cleaning import blank, clean_dialogue, normalized, oddity, unwritable
from dialsum_trl.data.formats.row import Row
from dialsum_trl.data.kept_rows import KeptRows
from dialsum_trl.data.layouts import as_text
from dialsum_trl.data.patterns import ANY_MASK, INVISIBLE, KNOWN_MASKS, OTHER_TURN, SPOKEN, SYLLABLE, TURN
from dialsum_trl.data.tables import name_of

REFERENCES = ("summary", "summary1", "summary2", "summary3")
UNCLEAN = {  # what cleaning repairs, told apart for the report
    r"literal \n or \r": re.compile(r"\\[nr]"),
    "<br> tags": re.compile(r"<\s*/?\s*br\s*/?\s*>", re.IGNORECASE),
    "carriage returns": re.compile("\r"),
    "runs of spaces": re.compile(r"[^\S\n]{2,}"),
    "invisible characters": INVISIBLE,
    "turns that start in the middle of a line": re.compile(rf"[^\n\s]{TURN.pattern}", re.IGNORECASE),
    "speakers that are no #PersonN#": OTHER_TURN,
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
    rows: KeptRows
    kept: list[int]  # the numbers of `rows` in their file
    has_references: bool  # of any row, usable or not


class _AuditedRow:
    """The texts of one row, and what is wrong or odd in it alone: `problems` are (level, text)."""

    def __init__(self, source: Row, names: dict[str, str]):
        self.number, self.problems = source.number, []
        name = source.values.get(names["fname"])
        self.label = (str(name).strip() if isinstance(name, str | int) else "") or f"row {source.number}"
        references = [role for role in REFERENCES if role in names]
        fname, raw, *texts = (self._text(source, role, names[role]) for role in ("fname", "dialogue", *references))
        if "topic" in names:
            self._text(source, "topic", names["topic"])
        self.fname, self.dialogue = fname and fname.strip(), clean_dialogue(raw or "")
        self.summaries = [text for text in texts if text and not blank(text)]
        self.lacks_summary = not self.summaries and None not in texts
        if self.fname is not None and blank(self.fname):
            self.problems.append(("error", f"rows without {names['fname']}"))
        if blank(self.dialogue) and raw is not None:
            self.problems.append(("error", "rows without a dialogue"))
        self.problems += [*_unclean(raw or ""), *_turns(self.dialogue), *_summaries(self.dialogue, self.summaries)]
        for role, text in zip(("dialogue", *references), (self.dialogue, *texts), strict=True):
            if odd := oddity(text or ""):
                self.problems.append(("warning", f"rows whose {names[role]} {odd}"))

    def _text(self, source: Row, role: str, column: str) -> str | None:
        """Text, "" where there is none, or None where something else is, which is a problem."""
        value = source.values.get(column)
        with suppress(InputError):  # stays a list, which is no text
            value = name_of(value) if role == "fname" else as_text(value, role)
        if value is not None and not isinstance(value, str):
            self.problems.append(("error", f"rows whose {column} is no text"))
            return None
        if unwritable(value or ""):
            self.problems.append(("error", f"rows whose {column} holds a NUL or half a surrogate pair"))
        return value or ""


def audit_rows(table: Iterable[tuple[Row, dict[str, str]]]) -> Audit:
    """Examines every row.

    Args:
        table: rows of a file with role -> column (`dialogues.named_rows`), at least one.
    """
    columns: list[str] = []
    found: dict[tuple[str, str], list[str]] = {}
    without: list[str] = []  # usable but for a reference
    masks, counts, names_seen, dialogues_seen = Counter(), Counter(), set(), set()
    rows, kept = KeptRows(), []
    for source, names in table:
        columns = columns or list(source.values)
        row = _AuditedRow(source, names)
        if row.fname and row.fname in names_seen:
            row.problems.append(("error", f"rows whose {names['fname']} an earlier row has"))
        key = hash(normalized(row.dialogue))
        if row.dialogue and key in dialogues_seen:
            row.problems.append(("warning", "rows whose dialogue an earlier row has"))
        names_seen.add(row.fname)
        dialogues_seen.add(key)
        counts[len(row.summaries)] += 1
        for text in (row.dialogue, *row.summaries):
            masks.update(ANY_MASK.findall(text))
        for problem in row.problems:
            found.setdefault(problem, []).append(row.label)
        if row.lacks_summary:
            without.append(row.label)
        if all(level != "error" for level, _ in row.problems):
            rows.append({"fname": row.fname, "dialogue": row.dialogue, "summaries": row.summaries})
            kept.append(row.number)
    total = counts.total()
    findings = [Finding(level, text, labels) for (level, text), labels in found.items()]
    if (has_references := counts[0] < total) and without:
        findings.append(Finding("error", "rows without a summary", without))
        scored = [index for index, row in enumerate(rows) if row["summaries"]]
        rows.keep(scored)
        kept = [kept[index] for index in scored]
    if max(counts) > 1:
        shown = ", ".join(f"{counts[n]:,} rows with {n}" for n in sorted(counts, reverse=True))
        findings.append(Finding("note", f"references: {shown}"))
    findings += _mask_findings(masks)
    findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.level))
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
