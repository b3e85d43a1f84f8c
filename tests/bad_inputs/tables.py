"""Rows: CSV and JSONL files of dialogues."""

import io
import json
import zipfile

from tests.bad_inputs.case import Case, Place

SFT = (
    "sft_llama3b --model_name_or_path {toy} --dtype float32 --quantization none --use_cpu true --rouge_rows 0 "
    "--output_dir {out}/run --train_file {given}/"
)
HEAD = "fname,dialogue,summary\n"
DAMAGED = HEAD.encode() + "a,#Person1#: 안녕".encode() + b"\xff,b\n"
GOOD = "a,#Person1#: 안녕,인사한다.\n"
JSON_ROW = {"fname": "a", "dialogue": "#Person1#: 안녕", "summary": "인사한다."}

with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
    archive.writestr("content.xml", "<office:document-content/>")
OPEN_DOCUMENT = packed.getvalue()


def csv(name: str, content: str | bytes, *says: str) -> Case:
    return Case(f"csv: {name}", f"{SFT}train.csv", {"train.csv": content}, ("train.csv", *says))


def jsonl(name: str, content: str | bytes | dict, *says: str) -> Case:
    if isinstance(content, dict):
        content = json.dumps({**JSON_ROW, **content}) + "\n"
    return Case(f"jsonl: {name}", f"{SFT}train.jsonl", {"train.jsonl": content}, ("train.jsonl", *says))


def huge_cell(place: Place) -> None:
    place.write("train.csv", f'{HEAD}a,"{"가" * 10_000_001}",b\n')


def same_rows_in_both(place: Place) -> None:
    place.write("train.csv", HEAD + GOOD + "b,#Person1#: 다른 말,다르다.\n")
    place.write("dev.csv", HEAD + "x,#Person1#:  안녕!,다른 요약.\n")


CASES = [
    csv("one latin-1 byte", HEAD.encode() + b"a,#Person1#: caf\xe9,b\n", "line 2, byte", "0xe9", "iconv"),
    csv("a NUL byte", HEAD + "a,#Person1#: x\0y,b\n", "line 2 holds a NUL", "tr -d"),
    csv("a zip file by another name", b"PK\x03\x04\x14\x00\x06\x00" + bytes(60), "damaged zip file", "export it again"),
    csv("UTF-8 with a damaged byte", DAMAGED, "line 2, byte 42 (0xff) is not UTF-8", "export it again"),
    csv("utf-16 that was cut", (HEAD + GOOD).encode("utf-16")[:-1], "is not UTF-16", "export it again"),
    csv("Parquet that was cut", b"PAR1" + bytes(30), "a damaged Parquet file", "export it again"),
    csv("an Excel file of before 2007", b"\xd0\xcf\x11\xe0" + bytes(600), "before 2007", "save it as .xlsx"),
    csv("a spreadsheet of LibreOffice", OPEN_DOCUMENT, "is an OpenDocument file", "save it as .xlsx"),
    csv("a pickle", b"\x80\x05\x95" + bytes(30), "is a pickle", "save its rows as"),
    csv("packed", b"\x1f\x8b" + bytes(30), "is compressed", "unpack it"),
    csv("nothing", "", "is empty", "header line"),
    csv("a byte order mark alone", "\ufeff", "is empty", "header line"),
    csv("blank lines alone", "\n\r\n\n", "is empty", "header line"),
    csv("a header alone", HEAD, "no data rows", "export"),
    csv("rows without a header", GOOD + GOOD, "no column 'dialogue'", "--dialogue_column"),
    csv("a login page", "<!DOCTYPE html>\n<title>Sign in</title>\n", "no column 'dialogue'"),
    csv("an unclosed quote", HEAD + GOOD + 'b,"c,d\n\n\n', "row 2 (line 3): a double quote opened in this row"),
    csv("bare carriage returns", HEAD + "a,b\rc,d\n", "row 1 (line 2)", "line endings"),
    csv("lines of old Macs", (HEAD + GOOD).replace("\n", "\r"), "the header (line 1)", "line endings"),
    csv("a column named twice", "fname,dialogue,summary,summary\na,b,c,d\n", "'summary' twice", "rename"),
    csv("a missing column", "fname,dialoge,summary\na,b,c\n", "'fname', 'dialoge'", "--dialogue_column dialoge"),
    csv("no summaries", "fname,dialogue\na,b\n", "no column 'summary'", "--summary_column"),
    csv(
        "summary and summary1", "fname,dialogue,summary,summary1\na,b,c,d\n", "both 'summary' and 'summary1'", "rename"
    ),
    csv("too few cells", HEAD + GOOD + "b,c\n", "row 2 (line 3) has 2 cells", "double quotes"),
    csv("too many cells", HEAD + "a,b,c,d\n", "row 1 (line 2) has 4 cells", "double quotes"),
    csv("text after a closing quote", HEAD + 'a,"b"c,d\n', "row 1 (line 2)", 'double the quotes inside a cell ("")'),
    csv("an empty dialogue", HEAD + GOOD + "b,<br> ,c\n", "row 2 (line 3), column 'dialogue': empty", "remove the row"),
    csv("an empty summary", HEAD + "a,b, \n", "row 1 (line 2), column 'summary': empty", "fill it"),
    csv("an empty name", HEAD + " ,b,c\n", "column 'fname': empty", "fill it"),
    csv("a name twice", HEAD + GOOD + GOOD, "row 2 (line 3), column 'fname': 'a' is also row 1", "its own name"),
    Case("csv: a cell of 10 MB", f"{SFT}train.csv", huge_cell, ("row 1 (line 2)", "10,000,000 characters", "quote")),
    Case(
        "path: a folder",
        f"{SFT}rows.csv",
        lambda p: (p.given / "rows.csv").mkdir(),
        ("is a folder", "name the file in it"),
    ),
    Case("path: nothing there", f"{SFT}tset.csv", {}, ("tset.csv does not exist", "did you mean", "test.csv?")),
    Case("path: a workbook cut in two", f"{SFT}a.xlsx", {"a.xlsx": b"PK\x03\x04"}, ("a.xlsx: a damaged", "export it")),
    Case("path: packed", f"{SFT}rows.csv.gz", {"rows.csv.gz": b"\x1f\x8b"}, ("is compressed", "gunzip")),
    Case(
        "rows: the same dialogue in training and dev rows",
        f"{SFT}train.csv --eval_file {{given}}/dev.csv",
        same_rows_in_both,
        ("1 training rows are also evaluation rows (a = x)", "--drop_shared_rows true"),
    ),
    jsonl("cut in the middle", json.dumps(JSON_ROW) + '\n{"fname": "b", "dial', "row 2 (line 2) is not JSON"),
    jsonl("an array cut off", f"[{json.dumps(JSON_ROW)},\n", "row 2 (line 2) is not JSON", "export it again"),
    jsonl("an array without an end", f"[{json.dumps(JSON_ROW)}\n", "Expecting ',' or ']'", "export it again"),
    jsonl("an array of texts", '["a", "b"]\n', "row 1 (line 1) is a JSON str", "an object"),
    jsonl("a number", "3\n", "is a JSON int", "a row is an object"),
    jsonl("a number in a list of turns", {"dialogue": ["a", 3]}, "column 'dialogue'", "'speaker' and 'utterance'"),
    jsonl("four references", {"summary": ["a", "b", "c", "d"]}, "'summary' has 4 references", "up to 3"),
    jsonl("NIKL without its turns", {"input": {"conversation": [{"speaker": "a"}]}, "output": "b"}, "a turn is a text"),
    jsonl("a frame by column", {"dialogue": {"0": "a"}}, "'dialogue': dict instead of text", "orient='records'"),
    jsonl("a number for a text", {"summary": 3}, "column 'summary': int instead of text"),
    jsonl("a broken number for a name", {"fname": 1.0}, "'fname': float instead of text; write it in quotes"),
    jsonl("true for a name", {"fname": True}, "column 'fname': bool instead of text"),
    jsonl("NaN for a text", {"dialogue": float("nan")}, "column 'dialogue': empty", "fill it"),
    jsonl("null for a text", {"dialogue": None}, "column 'dialogue': empty", "fill it"),
    jsonl("half a surrogate pair", {"dialogue": "a\ud800"}, "column 'dialogue': holds a NUL or half", "export"),
    jsonl("an escaped NUL", {"summary": "a\0"}, "column 'summary': holds a NUL", "export"),
    jsonl(
        "a key missing in the second row",
        json.dumps(JSON_ROW) + '\n{"fname": "b", "summary": "c"}\n',
        "row 2 (line 2): no column 'dialogue'",
    ),
    jsonl("nothing", "", "no data rows"),
]
