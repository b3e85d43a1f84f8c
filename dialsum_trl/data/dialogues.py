"""Rows in: CSV, JSONL or a Hub dataset -> `Dataset[fname, dialogue, summaries, topic]`, checked row by row."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.data.cleaning import clean_dialogue, unwritable
from dialsum_trl.data.tables import Row, closest, name_of, read_table
from dialsum_trl.data.unicode_forms import other_form

if TYPE_CHECKING:
    from datasets import Dataset

HUB = "hub:"
REFERENCES = ("summary1", "summary2", "summary3")
ROLES = ("fname", "dialogue", "summary", *REFERENCES, "topic")
_DEFAULT_NAMES = {"fname": ("fname", "id")}  # the Hub copies of DialogSum call it `id`


def read_dialogues(
    source: str | Path, *, columns: dict[str, str] | None = None, require_summary: bool = True
) -> "Dataset":
    """Reads all rows of `source` into a `datasets.Dataset`.

    Args:
        source: path of a `.csv` or `.jsonl` file, or `hub:<dataset_name>[:<split>]` (split `train` by default).
        columns: canonical name (`fname dialogue summary summary1..3 topic`) -> name in the source; a name that equals
            its role is the default and may be absent where the role is optional.
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
    source = str(source)
    if source.startswith(HUB):
        place, rows = source, _hub_rows(source)
    else:
        place, rows = str(Path(source).expanduser()), read_table(Path(source).expanduser())
    names: dict[str, str] = {}
    present: Collection[str] | None = None
    seen: dict[str, int] = {}
    for row in rows:
        if row.values.keys() != present:  # once for CSV; JSONL rows may differ
            present = row.values.keys()
            names = resolve_columns(_where(place, row), list(present), columns or {}, require_summary)
        checked = _checked_row(place, row, names, require_summary)
        fname = checked["fname"]
        if fname in seen:
            raise InputError(
                f"{_where(place, row)}, column '{names['fname']}': '{fname}' is also row {seen[fname]}; "
                "give every row its own name"
            )
        seen[fname] = row.number
        yield checked


def can_be_scored(rows: "Dataset", source: str | Path) -> bool:
    """Whether every row has a reference. Where some have one and others none, a line says why nothing is scored."""
    without = [name for name, references in zip(rows["fname"], rows["summaries"], strict=True) if not references]
    if 0 < len(without) < len(rows):
        count = f"{len(without)} of {len(rows)} rows of {source}"
        say(f"not scored: {count} have no reference, the first is {without[0]}; give it one or leave the row out")
    return not without


def _where(place: str, row: Row) -> str:
    return f"{place}: row {row.number}" + (f" (line {row.line})" if row.line else "")


def resolve_columns(where: str, present: list[str], renamed: dict[str, str], require_summary: bool) -> dict[str, str]:
    """Role (`ROLES`) -> column of this source, for the roles it has.

    Args:
        where: how the source and its row are named in errors.
        present: its columns.
        renamed: role -> column, as the user gave them.

    Raises:
        InputError: a column is missing, or two could be the reference.
    """
    unknown = [role for role in renamed if role not in ROLES]
    if unknown:
        raise InputError(f"no column role is called '{unknown[0]}'; the roles are {', '.join(ROLES)}")
    renamed = {role: name for role, name in renamed.items() if name != role}
    for role, name in renamed.items():
        if other := next((other for other in renamed if other != role and renamed[other] == name), None):
            raise InputError(f"--{role}_column {name}: is also the --{other}_column; give each a column of its own")
    names: dict[str, str] = {}
    for role in ROLES:
        if role in renamed:
            found = renamed[role] if renamed[role] in present else other_form(renamed[role], present)
            if found is None:
                raise _missing_column(where, role, renamed[role], present)
            names[role] = found
        else:
            taken = set(renamed.values())
            candidates = _DEFAULT_NAMES.get(role, (role,))
            found = next((name for name in candidates if name in present and name not in taken), None)
            if found:
                names[role] = found
    numbered = [role for role in REFERENCES if role in names]
    if "summary" in names and numbered:
        if "summary" in renamed:  # one reference was chosen by name
            names = {role: name for role, name in names.items() if role not in numbered}
        else:
            raise InputError(
                f"{where}: both 'summary' and '{names[numbered[0]]}' exist; "
                "rename or remove one, or choose a numbered one with --summary_column"
            )
    for role in ("fname", "dialogue"):
        if role not in names:
            taker = next((other for other, name in renamed.items() if name in present and name == role), None)
            if taker:
                rest = [name for name in present if name not in ("dialogue", "summary", role)]
                raise InputError(
                    f"{where}: --{taker}_column {role}: '{role}' is the {role}'s own column; "
                    f"{'give one of ' + ', '.join(map(repr, rest)) if rest else 'add a column'} for {taker}, or name "
                    f"the {role}'s with --{role}_column"
                )
            raise _missing_column(where, role, role, present)
    if require_summary and "summary" not in names and not numbered:
        raise _missing_column(where, "summary", "summary", present)
    return names


def _missing_column(where: str, role: str, name: str, present: list[str]) -> InputError:
    near = closest(name, present)
    flag = f"--{role}_column {near or '<name>'}"
    return InputError(
        f"{where}: no column '{name}'; there are {', '.join(map(repr, present))}; "
        + (f"did you mean {flag}?" if near else f"name it with {flag}")
    )


def _checked_row(place: str, row: Row, names: dict[str, str], require_summary: bool) -> dict:
    def text_of(role: str) -> str:
        value = row.values[names[role]]
        where = f"{_where(place, row)}, column '{names[role]}'"
        if value is None:
            return ""
        value = name_of(value) if role == "fname" else value
        if not isinstance(value, str):
            raise InputError(f"{where}: {type(value).__name__} instead of text; write it in quotes")
        if unwritable(value):
            raise InputError(f"{where}: holds a NUL or half a surrogate pair; export the row again")
        return value

    fname, dialogue = text_of("fname").strip(), clean_dialogue(text_of("dialogue"))
    for role, text in (("fname", fname), ("dialogue", dialogue)):
        if not text:
            raise InputError(f"{_where(place, row)}, column '{names[role]}': empty; fill it or remove the row")
    references = [role for role in ("summary", *REFERENCES) if role in names]
    summaries = [text for text in map(text_of, references) if text.strip()]
    if require_summary and not summaries:
        columns = "', '".join(names[role] for role in references)
        raise InputError(f"{_where(place, row)}, column '{columns}': empty; fill it or remove the row")
    topic = text_of("topic").strip() if "topic" in names else ""
    return {"fname": fname, "dialogue": dialogue, "summaries": summaries, "topic": topic or None}


def _hub_rows(source: str) -> Iterator[Row]:
    from datasets import load_dataset  # as in `read_dialogues`

    name, _, split = source.removeprefix(HUB).partition(":")
    if not name:
        raise InputError(f"'{source}' names no dataset; write hub:<dataset_name>[:<split>]")
    try:
        rows = load_dataset(name, split=split or "train")
    except ConnectionError as error:
        raise InputError(
            f"{source}: the Hugging Face Hub cannot be reached ({_first_line(error)}); "
            "check the network, or give a .csv or .jsonl file"
        ) from None
    except (OSError, ValueError) as error:  # not found or not allowed; no such split or several configurations
        raise InputError(f"{source}: {_first_line(error)}") from None
    for number, values in enumerate(rows, start=1):
        yield Row(number, 0, values)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
