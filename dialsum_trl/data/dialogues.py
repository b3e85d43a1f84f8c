"""Rows in: a file or a Hub dataset -> `Dataset[fname, dialogue, summaries, topic]`, checked row by row."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.cleaning import blank, clean_dialogue, unwritable
from dialsum_trl.data.formats.hub import HUB, hub_rows
from dialsum_trl.data.formats.row import Row
from dialsum_trl.data.layouts import as_text, flat
from dialsum_trl.data.tables import closest, name_of, read_table
from dialsum_trl.data.unicode_forms import composed, other_form

if TYPE_CHECKING:
    from datasets import Dataset

REFERENCES = ("summary1", "summary2", "summary3")
ROLES = ("fname", "dialogue", "summary", *REFERENCES, "topic")
_NAMES = {  # of columns, the likeliest first, where none is given by a flag
    "fname": ("fname", "id", "idx", "번호", "아이디", "대화id", "파일명"),
    "dialogue": ("dialogue", "dialog", "conversation", "대화", "대화문", "대화내용", "text"),
    "summary": ("summary", "요약", "요약문", "output", "target"),
    "topic": ("topic", "주제", "subject"),
}


def read_dialogues(
    source: str | Path, *, columns: dict[str, str] | None = None, require_summary: bool = True
) -> "Dataset":
    """Reads all rows of `source` into a `datasets.Dataset`.

    Args:
        source: path of a CSV, TSV, JSON, JSONL, Parquet or Excel file in any layout of `data.layouts`, or
            `hub:<dataset>[:[<configuration>:]<split>]` (split `train` by default).
        columns: canonical name (`fname dialogue summary summary1..3 topic`) -> name in the source; for a name that
            equals its role, and for roles left out, likely names in Korean and English are tried, and the choice is
            printed. Without a column of ids rows are named by their number, from 0.
        require_summary: False for files to be summarized; references are still read where they are.

    Returns:
        Dataset with `fname: str`, `dialogue: str` (cleaned), `summaries: list[str]` (0 to 3 references, untouched;
        blank cells of `summary1..3` are left out) and `topic: str | None`.

    Raises:
        InputError: names file, row, line, column and remedy.
    """
    from datasets import Dataset, Features, List, Value  # a second, with pandas, that `check` and `score` do not need

    rows = list(iter_rows(source, columns=columns, require_summary=require_summary))
    features = Features(
        {"fname": Value("string"), "dialogue": Value("string"), "summaries": List(Value("string")),
         "topic": Value("string")}
    )  # fmt: skip
    return Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)


def iter_rows(
    source: str | Path, *, columns: dict[str, str] | None = None, require_summary: bool = True
) -> Iterator[dict]:
    """The rows of `read_dialogues` one at a time, for files that should not be held in memory."""
    seen: dict[str, int] = {}
    for row, names in named_rows(source, columns, require_summary):
        checked = _checked_row(f"{_place(source)}: {row.place}", row, names, require_summary)
        fname = checked["fname"]
        if fname in seen:
            raise InputError(
                f"{_place(source)}: {row.place}, column '{names['fname']}': '{fname}' is also row {seen[fname]}; "
                "give every row its own name"
            )
        seen[fname] = row.number
        yield checked


def named_rows(
    source: str | Path, columns: dict[str, str] | None = None, require_summary: bool = True, strict: bool = True
) -> Iterator[tuple[Row, dict[str, str]]]:
    """Every row as columns, with role -> column (`ROLES`); prints once which columns were chosen by their names.

    Rows of a layout (`data.layouts`) are made flat, and rows without an id get their number, from 0, as `fname`.

    Args:
        strict: False for an audit: a later row of JSON that lacks a column has the names of the row before.
    """
    place = _place(source)
    rows = hub_rows(place) if place.startswith(HUB) else read_table(place)
    names: dict[str, str] = {}
    present: Collection[str] | None = None
    for number, row in enumerate(rows):
        try:
            values, layout = flat(row.values)
            values = _references_apart(values, columns or {})
        except InputError as error:
            raise InputError(f"{place}: {row.place}: {error}") from None
        if values.keys() != present:  # once for a table; rows of JSON may differ
            present = values.keys()
            try:
                names = resolve_columns(f"{place}: {row.place}", list(present), columns or {}, require_summary)
            except InputError as error:
                if number == 0 and any(isinstance(value, list | dict) for value in values.values()):
                    raise InputError(f"{error}. Rows are an array of objects (pandas: orient='records')") from None
                if strict or number == 0:
                    raise
            if number == 0:
                _say_choice(place, layout, names, columns or {})
        if "fname" not in names:
            values = {"fname": str(number), **values}
        yield row._replace(values=values), {"fname": "fname", **names}


def _place(source: str | Path) -> str:
    return str(source) if str(source).startswith(HUB) else str(Path(source).expanduser())


def _references_apart(values: dict, renamed: dict[str, str]) -> dict:
    """A list of references becomes the columns `summary1`, `summary2`, `summary3`."""
    likely = (renamed.get("summary", "summary"), *_NAMES["summary"])
    column = next((name for name in likely if isinstance(values.get(name), list)), None)
    if column is None:
        return values
    references = values[column]
    if len(references) > len(REFERENCES):
        raise InputError(f"'{column}' has {len(references)} references; up to {len(REFERENCES)} are read")
    rest = {name: value for name, value in values.items() if name != column}
    return rest | dict(zip(REFERENCES, references, strict=False))


def _say_choice(place: str, layout: str, names: dict[str, str], renamed: dict[str, str]) -> None:
    """One line where a column was chosen by its name alone, ids are row numbers, or the layout is a known one."""
    guessed = [role for role, name in names.items() if name not in (role, renamed.get(role))]
    if not layout and not guessed and "fname" in names:
        return
    parts = [f"{layout} layout"] if layout else []
    if not layout:
        parts += [f"{role} is column '{names[role]}' (another: --{role}_column)" for role in guessed]
    if "fname" not in names:
        parts.append("no column of ids, so rows are named by their number, from 0")
    say(f"{place}: {'; '.join(parts)}")


def can_be_scored(rows: "Dataset", source: str | Path) -> bool:
    """Whether every row has a reference. Where some have one and others none, a line says why nothing is scored."""
    without = [name for name, references in zip(rows["fname"], rows["summaries"], strict=True) if not references]
    if 0 < len(without) < len(rows):
        count = f"{len(without)} of {len(rows)} rows of {source}"
        say(f"not scored: {count} have no reference, the first is {without[0]}; give it one or leave the row out")
    return not without


def resolve_columns(where: str, present: list[str], renamed: dict[str, str], require_summary: bool) -> dict[str, str]:
    """Role (`ROLES`) -> column of this source, for the roles it has.

    Args:
        where: how the source and its row are named in errors.
        present: its columns.
        renamed: role -> column, as the user gave them.
    """
    unknown = [role for role in renamed if role not in ROLES]
    if unknown:
        raise InputError(f"no column role is called '{unknown[0]}'; the roles are {', '.join(ROLES)}")
    renamed = {role: name for role, name in renamed.items() if name != role}
    for role, name in renamed.items():
        if other := next((other for other in renamed if other != role and renamed[other] == name), None):
            raise InputError(f"--{role}_column {name}: is also the --{other}_column; give each a column of its own")
    by_name = {composed(name).strip().casefold(): name for name in reversed(present)}
    taken = set(renamed.values())
    names: dict[str, str] = {}
    for role in ROLES:
        if role in renamed:
            found = renamed[role] if renamed[role] in present else other_form(renamed[role], present)
            if found is None:
                raise _missing_column(where, role, renamed[role], present)
            names[role] = found
        else:
            likely = (by_name[name] for name in _NAMES.get(role, (role,)) if name in by_name)
            if found := next((name for name in likely if name not in taken), None):
                names[role] = found
    numbered = [role for role in REFERENCES if role in names]
    if "summary" in names and numbered:
        if "summary" in renamed:  # one reference was chosen by name
            names = {role: name for role, name in names.items() if role not in numbered}
        elif names["summary"] != "summary":  # chosen for a likely name, which numbered ones are before
            del names["summary"]
        else:
            raise InputError(
                f"{where}: both 'summary' and '{names[numbered[0]]}' exist; "
                "rename or remove one, or choose a numbered one with --summary_column"
            )
    if "dialogue" not in names:
        taker = next((role for role, name in renamed.items() if name in present and name in _NAMES["dialogue"]), None)
        if taker:
            rest = [name for name in present if name not in ("summary", renamed[taker])]
            raise InputError(
                f"{where}: --{taker}_column {renamed[taker]}: '{renamed[taker]}' is the dialogue's own column; "
                f"{'give one of ' + ', '.join(map(repr, rest)) if rest else 'leave the flag out'} for {taker}, or name "
                "the dialogue's with --dialogue_column"
            )
        raise _missing_column(where, "dialogue", "dialogue", present)
    if require_summary and "summary" not in names and not numbered:
        raise _missing_column(where, "summary", "summary", present)
    return names


def likely_column(role: str, present: list[str]) -> str | None:
    """The column that a role most likely has, by its name; None where no name says so."""
    by_name = {composed(name).strip().casefold(): name for name in reversed(present)}
    return next((by_name[name] for name in _NAMES[role] if name in by_name), None)


def _missing_column(where: str, role: str, name: str, present: list[str]) -> InputError:
    near = closest(name, present)
    flag = f"--{role}_column {near or '<name>'}"
    return InputError(
        f"{where}: no column '{name}'; there are {', '.join(map(repr, present))}; "
        + (f"did you mean {flag}?" if near else f"name it with {flag}")
    )


def _checked_row(where: str, row: Row, names: dict[str, str], require_summary: bool) -> dict:
    def text_of(role: str) -> str:
        value = row.values[names[role]]
        place = f"{where}, column '{names[role]}'"
        if value is None:
            return ""
        try:
            value = name_of(value) if role == "fname" else as_text(value, role)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        if not isinstance(value, str):
            nested = isinstance(value, list | dict)
            remedy = "rows are an array of objects (pandas: orient='records')" if nested else "write it in quotes"
            raise InputError(f"{place}: {type(value).__name__} instead of text; {remedy}")
        if unwritable(value):
            raise InputError(f"{place}: holds a NUL or half a surrogate pair; export the row again")
        return value

    fname, dialogue = text_of("fname").strip(), clean_dialogue(text_of("dialogue"))
    for role, text in (("fname", fname), ("dialogue", dialogue)):
        if blank(text):
            raise InputError(f"{where}, column '{names[role]}': empty; fill it or remove the row")
    references = [role for role in ("summary", *REFERENCES) if role in names]
    summaries = [text for text in map(text_of, references) if not blank(text)]
    if require_summary and not summaries:
        columns = "', '".join(names[role] for role in references)
        raise InputError(f"{where}, column '{columns}': empty; fill it or remove the row")
    topic = text_of("topic").strip() if "topic" in names else ""
    return {"fname": fname, "dialogue": dialogue, "summaries": summaries, "topic": topic or None}
