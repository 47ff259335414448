"""Files as people have them: right ones give exactly their values, wrong ones a message with place, value and way out."""

import csv
import json
import time
from pathlib import Path
from random import Random

import pyarrow
import pytest
from pyarrow import feather, ipc, parquet

from finetune_wb.data.files import from_arrow, read_file, split_files
from finetune_wb.errors import DataError

BIG_ID = "12345678901234567"


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


RIGHT = {
    "bom": ("a.csv", b"\xef\xbb\xbftext,label\na,x\n", [("a", "x")]),
    "crlf": ("a.csv", "text,label\r\na,x\r\nb,y\r\n", [("a", "x"), ("b", "y")]),
    "cr only": ("a.csv", "text,label\ra,x\rb,y\r", [("a", "x"), ("b", "y")]),
    "mixed line ends": ("a.csv", "text,label\r\na,x\nb,y\rc,z", [("a", "x"), ("b", "y"), ("c", "z")]),
    "blank lines": ("a.csv", "text,label\n\na,x\n  \nb,y\n\n", [("a", "x"), ("b", "y")]),
    "emoji, right-to-left, zero width": ("a.csv", "text,label\n👩‍👩‍👧 שלום e\u0301\u200b,x\n", [("👩‍👩‍👧 שלום e\u0301\u200b", "x")]),
    "ansi escapes": ("a.csv", "text,label\n\x1b[31mred,x\n", [("\x1b[31mred", "x")]),
    "unicode line separators are text": ("a.csv", "text,label\na\u2028b\x85c\x0bd,x\n", [("a\u2028b\x85c\x0bd", "x")]),
    "semicolon": ("a.csv", "text;label\na, b, c;x\n", [("a, b, c", "x")]),
    "semicolon, comma in the header": ("a.csv", "text;label, in words\na;x\nb;y\n", [("a", "x"), ("b", "y")]),
    "tab in .csv": ("a.csv", "text\tlabel\na, b\tx\n", [("a, b", "x")]),
    "bar": ("a.csv", "text|label\na, b|x\n", [("a, b", "x")]),
    "tsv": ("a.tsv", "text\tlabel\na\tx\n", [("a", "x")]),
    "tsv without quoting": ("a.tsv", 'text\tlabel\n"the movie\tx\nsaid "no" to\ty\n', [('"the movie', "x"), ('said "no" to', "y")]),
    "upper-case ending": ("A.CSV", "text,label\na,x\n", [("a", "x")]),
    "quoted newline": ("a.csv", 'text,label\n"a\nb",x\n"c",y\n', [("a\nb", "x"), ("c", "y")]),
    "quote inside a bare cell": ("a.csv", 'text,label\nhe said "hi" to me,x\n', [('he said "hi" to me', "x")]),
    "spaces after commas": ("a.csv", 'text, label\n"a, b", "x"\n', [("a, b", "x")]),
    "NA, None, null are text": ("a.csv", "text,label\na,NA\nb,None\nc,null\nd,nan\n", [("a", "NA"), ("b", "None"), ("c", "null"), ("d", "nan")]),
    "007": ("a.csv", "text,label\na,007\n", [("a", "007")]),
    "17 digits beside an empty cell": ("a.csv", f"text,label\na,{BIG_ID}\nb,\n", [("a", BIG_ID), ("b", "")]),
    "True and yes": ("a.csv", "text,label\na,True\nb,yes\n", [("a", "True"), ("b", "yes")]),
    "formula": ("a.csv", 'text,label\n"=HYPERLINK(""x"")",x\n', [('=HYPERLINK("x")', "x")]),
    "one row": ("a.csv", "text,label\na,x", [("a", "x")]),
    "class names": ("a.csv", 'text,label\na,$\\frac{\nb,[/b]\nc,<script>\nd,"x\ny"\n', [("a", "$\\frac{"), ("b", "[/b]"), ("c", "<script>"), ("d", "x\ny")]),
    "pandas' unnamed columns": ("a.csv", "0,1\na,x\n", [("a", "x")]),
    "jsonl": ("a.jsonl", '{"text": "a", "label": "x"}\n{"label": "y", "text": "b"}\n', [("a", "x"), ("b", "y")]),
    "jsonl, one row, no newline": ("a.jsonl", '{"text": "a", "label": "x"}', [("a", "x")]),
    "jsonl, crlf, cr, blank lines": ("a.ndjson", '{"text": "a"}\r\n\r\n{"text": "b"}\r{"text": "c"}', [("a",), ("b",), ("c",)]),
    "jsonl with line separators in text": ("a.jsonl", '{"text": "a\u2028b"}\n{"text": "c"}\n', [("a\u2028b",), ("c",)]),
    "jsonl bom": ("a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n', [("a",)]),
    "jsonl type change": ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": "1"}\n', [("a", 1), ("b", "1")]),
    "jsonl missing key": ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}\n', [("a", "x"), ("b", None)]),
    "jsonl nested": ("a.jsonl", '{"text": "a", "label": ["x", {"y": 1}]}\n', [("a", ["x", {"y": 1}])]),
    "jsonl big int": ("a.jsonl", '{"text": "a", "label": 123456789012345678901234567890}\n', [("a", 123456789012345678901234567890)]),
    "json lines named .json": ("a.json", '{"text": "a"}\n{"text": "b"}\n', [("a",), ("b",)]),
    "a list named .jsonl": ("a.jsonl", '[{"text": "a"},\n{"text": "b"}]', [("a",), ("b",)]),
    "json list": ("a.json", '[\n {"text": "a", "label": "x"}\n]\n', [("a", "x")]),
    "json data": ("a.json", '{"version": 2, "data": [{"text": "a"}, {"text": "b"}]}', [("a",), ("b",)]),
    "json data, pretty": ("a.json", '{\n "data": [\n  {"text": "a"}\n ]\n}', [("a",)]),
    "chat row is a row": ("a.jsonl", '{"messages": [{"role": "user", "content": "hi"}]}', [([{"role": "user", "content": "hi"}],)]),
}


@pytest.mark.parametrize("case", RIGHT)
def test_right_files_give_exactly_their_values(case, tmp_path):
    name, content, rows = RIGHT[case]
    assert read_file(write(tmp_path, name, content)).rows == rows


WRONG = {
    "empty": ("a.csv", "", ["is empty (0 bytes)", "fetch it again"]),
    "blank": ("a.csv", "\n \n", ["nothing but blank lines"]),
    "empty jsonl": ("a.jsonl", "", ["is empty (0 bytes)"]),
    "empty list": ("a.json", "[]", ["holds no rows"]),
    "empty data": ("a.json", '{"data": []}', ["holds no rows"]),
    "header only": ("a.csv", "text,label\n", ["line 1", "header and no rows", "text,label"]),
    "utf-16": ("a.csv", "text,label\na,x\n".encode("utf-16"), ["UTF-16", 'encoding="utf-16"']),
    "utf-16 without mark": ("a.csv", "text,label\na,x\n".encode("utf-16-le"), ["UTF-16-LE", 'encoding="utf-16-le"']),
    "utf-32": ("a.csv", "text,label\na,x\n".encode("utf-32"), ["UTF-32", 'encoding="utf-32"']),
    "latin-1": ("a.csv", "text,label\na,x\ncafé,y\n".encode("latin-1"), ["line 3", "0xE9 at offset 18", "café", 'encoding="cp1252"']),
    "latin-1, cr only": ("a.csv", "text,label\ra,x\rcafé,y\r".encode("latin-1"), ["line 3", "0xE9 at offset 18"]),
    "mixed encodings": ("a.csv", "text,label\ncafé,x\n".encode() + "naïve,y\n".encode("latin-1"), ["line 3", "0xEF at offset 21", "mixes encodings"]),
    "cut utf-8": ("a.csv", "text,label\na,x\nb,é".encode()[:-1], ["line 3", "0xC3 at offset 17"]),
    "NUL": ("a.csv", b"text,label\na\x00b,x\nc\x00,y\n", ["line 2", "line 3", "NUL", "save it again"]),
    "no header: number": ("a.csv", "hello,1\nthere,0\n", ["line 1", "no header", '"1" is a number', "text,label"]),
    "no header: repeated label": ("a.csv", "good one,pos\nbad one,neg\nfine,pos\nok,pos\n", ["no header", '"pos" comes again as a value in 2 rows']),
    "no header: sentence": ("a.csv", "Where is my card?,arrival\nI lost it.,lost\n", ["no header", "reads like a text"]),
    "duplicate header": ("a.csv", "text,label,text\na,x,b\n", ["line 1", '"text"', "comes 2 times"]),
    "duplicate header after spaces": ("a.csv", "text,label ,label\na,x,b\n", ['"label"', "comes 2 times"]),
    "short row": ("a.csv", "text,label\na,x\nb\n", ["line 3", "found 1 fields, expected 2", '"b"']),
    "long row": ("a.csv", "text,label\na,x\nhello, world,y\n", ["line 3", "found 3 fields, expected 2", "hello, world,y", "double quotes"]),
    "every row long": ("a.csv", "text,label\nhello, you,x\nbye, you,y\n", ["line 2", "every row has 3 fields, the header has 2"]),
    "long row after quoted newlines": ("a.csv", 'text,label\n"a\nb\nc",x\nd,e,f\n', ["line 5", "found 3 fields"]),
    "unclosed quote": ("a.csv", 'text,label\na,x\n"b,y\nc,x\nd,y\n', ["line 3", "never closed", "Close the quote"]),
    "quote ends in a cell": ("a.csv", 'text,label\na,x\n"b,y\nc,"x"\nd,y\n', ["line 3", "on line 4"]),
    "junk after quote": ("a.csv", 'text,label\n"a"b,x\n', ["line 2", "twice"]),
    "header again": ("a.csv", "text,label\na,x\ntext,label\nb,y\n", ["line 3", "repeats the header"]),
    "json in csv": ("a.csv", '{"text": "a", "label": "x"}\n', ["content is JSON", ".jsonl"]),
    "bad line 3": ("a.jsonl", '{"text": "a"}\n\n{"text": b}\n{"text": "c"}\n', ["line 3", "not JSON", "text", "one complete JSON object a line"]),
    "python notation": ("a.jsonl", "{'text': 'a'}\n{'text': 'b'}\n", ["line 1", "line 2", "json.dumps"]),
    "cut last line": ("a.jsonl", '{"text": "a"}\n{"text": "b", "la', ["line 2", "middle of a row", "fetch it again"]),
    "duplicate key": ("a.jsonl", '{"text": "a"}\n{"text": "b", "text": "c"}\n', ["line 2", '"text" comes twice']),
    "row is a list": ("a.jsonl", '{"text": "a"}\n["b", "x"]\n', ["line 2", "not a JSON object", "b"]),
    "list of lists": ("a.json", '[["a", "x"],\n ["b", "y"]]', ["line 1", "line 2", "not a JSON object"]),
    "not json": ("a.json", "hello", ["line 1", "not JSON", "hello"]),
    "list cut": ("a.json", '[{"text": "a"},\n {"text": "b"}', ["line 2", "ends in the middle"]),
    "list with a bad row": ("a.json", '[{"text": "a"},\n {"text": b}]', ["line 2", "not JSON"]),
    "list with a trailing comma": ("a.json", '[{"text": "a"},\n]', ["line 2", "Comma before the end"]),
    "two lists": ("a.json", '[{"text": "a"}]\n[{"text": "b"}]', ["line 2", "Extra data"]),
    "list, duplicate key": ("a.json", '[{"text": "a"},\n {"text": "b", "text": "c"}]', ["line 2", "comes twice"]),
    "splits in one file": ("a.json", '{"train": [["a", "x"]], "test": [["b", "y"], ["c", "y"]]}', ['"train": list of 1', "file for each split"]),
    "mapping of columns": ("a.json", '{"text": {"0": "a"}, "label": {"0": "x"}}', ["mapping of columns", 'orient="records"']),
    "too deep": ("a.json", "[" * 200_000, ["nested too deep"]),
    "huge number": ("a.jsonl", '{"text": "a"}\n{"text": ' + "9" * 5000 + "}\n", ["line 2", "4300"]),
    "gzip": ("a.csv", b"\x1f\x8b\x08\x00abc", ["gzip archive", "Unpack it"]),
    "zip": ("a.jsonl", b"PK\x03\x04abc", ["zip archive", "Unpack it"]),
    "gzip as parquet": ("a.parquet", b"\x1f\x8b\x08\x00abc", ["gzip archive"]),
    "parquet as csv": ("a.csv", b"PAR1abc", ["Parquet file", ".parquet"]),
    "lfs pointer": ("a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", ["git-lfs pointer", "git lfs pull"]),
    "web page": ("a.csv", "<!DOCTYPE html>\n<html><title>Sign in</title>", ["web page", "Download the file itself"]),
    "damaged parquet": ("a.parquet", b"PAR1 not really", ["cannot be read as Parquet", "fetch it again"]),
    "damaged arrow": ("a.arrow", b"hello", ["cannot be read as Parquet or Arrow"]),
    "unknown ending": ("a.xlsx", "hello", ['".xlsx" is not one of', ".csv"]),
    "no ending": ("data", "hello", ['"" is not one of']),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_say_where_what_and_the_way_out(case, tmp_path):
    name, content, parts = WRONG[case]
    path = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught: read_file(path)
    message = str(caught.value)
    assert str(path) in message
    for part in parts: assert part in message


def test_lines_are_those_of_an_editor(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\r\n"a\r\nb",x\r\n\r\nc,y\r\n')
    assert read_file(path).lines == [2, 5] and read_file(path).origins()[1] == "a.csv:5"
    assert read_file(write(tmp_path, "a.json", '{"data":\n[\n\n{"a": 1}, {"a": 2},\n{"a":\n 3}]}')).lines == [4, 4, 5]


def test_header_spaces_are_noted(tmp_path):
    table = read_file(write(tmp_path, "a.csv", " Text ,label\na,x\n"))
    assert table.columns == ("Text", "label") and '" Text "' in table.notes[0]


def test_empty_column_names_get_one(tmp_path):
    assert read_file(write(tmp_path, "a.csv", ",text,label\n0,a,x\n")).columns == ("column 1", "text", "label")


def test_missing_keys_are_noted(tmp_path):
    table = read_file(write(tmp_path, "a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n{"text": "c"}\n'))
    assert table.notes == (f'{tmp_path}/a.jsonl: 2 rows have no "label" (the first on line 2).',)


def test_twenty_problems_at_once(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\n" + "a,x\nb\n" * 30)
    with pytest.raises(DataError, match="and 10 more") as caught: read_file(path)
    assert [problem.line for problem in caught.value.problems] == list(range(3, 43, 2))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "cp1252", "UTF8", "utf-8-sig"])
def test_named_encodings_read_right(tmp_path, encoding):
    path = write(tmp_path, "a.csv", "text,label\ncafé,x\n".encode(encoding))
    assert read_file(path, encoding=encoding).rows == [("café", "x")]


@pytest.mark.parametrize("encoding, content, part", [
    ("utf-9", "a,b\n", "not a text encoding"),
    ("hex", "a,b\n", "not a text encoding"),
    ("latin-1", "text,label\na,x\ncafé,x\n", "line 3"),
    ("ascii", "text,label\na,x\ncafé,x\n", "line 3"),
    ("utf-16", b"\xff\xfet\x00e\x00x\x00t", "damaged|UTF-16|header and no rows"),
])
def test_wrong_encodings_are_refused(tmp_path, encoding, content, part):
    with pytest.raises(DataError, match=part): read_file(write(tmp_path, "a.csv", content), encoding=encoding)


def test_delimiters(tmp_path):
    path = write(tmp_path, "a.csv", "text;label\na;x\n")
    with pytest.raises(DataError, match="drop the delimiter, or pass delimiter=';'"): read_file(path, delimiter=",")
    assert read_file(write(tmp_path, "b.csv", "text^label\na^x\n"), delimiter="^").rows == [("a", "x")]
    with pytest.raises(DataError, match="comma or semicolon"): read_file(write(tmp_path, "c.csv", "a,b;c\nd,e;f\n"))
    assert read_file(write(tmp_path, "d.csv", "a,b;c\nd,e;f\n"), delimiter=";").rows == [("d,e", "f")]


@pytest.mark.parametrize("megabytes", [5, 10])
def test_huge_cells(tmp_path, megabytes):
    long = "word " * (megabytes * 200_000)
    limit = csv.field_size_limit()
    assert read_file(write(tmp_path, "a.csv", f'text,label\n"{long}",x\nb,y\n')).rows == [(long, "x"), ("b", "y")]
    assert read_file(write(tmp_path, "a.jsonl", json.dumps({"text": long, "label": "x"}))).rows == [(long, "x")]
    assert csv.field_size_limit() == limit


def test_messages_escape_what_a_terminal_obeys(tmp_path):
    with pytest.raises(DataError) as caught: read_file(write(tmp_path, "a.csv", "text,label\n\x1b[2J,\u202ex,y\n"))
    assert "\x1b" not in str(caught.value) and "\u202e" not in str(caught.value) and r"\x1b" in str(caught.value)


def test_places_that_are_no_files(tmp_path, monkeypatch):
    write(tmp_path, "train.csv", "text,label\na,x\n")
    with pytest.raises(DataError, match='no such file.*Did you mean "train.csv"'): read_file(tmp_path / "tran.csv")
    with pytest.raises(DataError, match="not there either"): read_file(tmp_path / "no" / "train.csv")
    with pytest.raises(DataError, match="is a folder"): read_file(tmp_path)
    with pytest.raises(DataError, match="not a regular file"): read_file("/dev/null")

    def refuse(self): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match="Permission denied.*permissions"): read_file(tmp_path / "train.csv")


TABLE = pyarrow.table({"text": ["a", None], "label": [2**60 + 1, 2], "score": [0.5, None], "tags": [["x"], []]})
ROWS = [("a", 2**60 + 1, 0.5, ["x"]), (None, 2, None, [])]


def test_arrow_formats(tmp_path):
    parquet.write_table(TABLE, tmp_path / "a.parquet")
    feather.write_feather(TABLE, tmp_path / "a.feather")
    with ipc.new_stream(tmp_path / "a.arrow", TABLE.schema) as sink: sink.write_table(TABLE)
    for name in ("a.parquet", "a.feather", "a.arrow"):
        table = read_file(tmp_path / name)
        assert table.rows == ROWS and table.lines == [1, 2] and table.unit == "row"


def test_arrow_class_numbers_become_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    rows.to_parquet(tmp_path / "a.parquet")
    table = read_file(tmp_path / "a.parquet")
    assert table.column("label") == ["yes", "no", None] and "2 class names" in table.notes[0]


def test_arrow_text_that_is_not_utf8():
    broken = pyarrow.table({"text": pyarrow.array([b"fine", b"\xff\xfe"]).view(pyarrow.string())})
    with pytest.raises(DataError, match='rows.parquet, row 2, field "text": the value cannot be read'): from_arrow(broken, "rows.parquet")


def test_what_a_writer_quotes_comes_back(tmp_path):
    random = Random(0)
    letters = ["a", " ", '"', ",", "\n", ";", "\t", "|", "é", "😀", "'", "{", "]", "\\", "0", "-", "\u2028", "NA", '"",']
    for turn in range(200):
        rows = [tuple("".join(random.choices(letters, k=random.randint(1, 8))) for _ in range(2)) for _ in range(5)]
        delimiter, end = random.choice(",;\t|"), random.choice(["\n", "\r\n"])
        with open(tmp_path / "a.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter, lineterminator=end).writerows([("text", "label"), *rows])
        objects = [dict(zip(("text", "label"), row)) for row in rows]
        write(tmp_path, "a.jsonl", "".join(json.dumps(row, ensure_ascii=turn % 2 == 0) + end for row in objects))
        write(tmp_path, "a.json", json.dumps({"data": objects}, indent=turn % 3 or None))
        for name in ("a.csv", "a.jsonl", "a.json"): assert read_file(tmp_path / name).rows == rows


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_damage_is_an_error_of_ours_or_harmless(tmp_path, ending):
    random, rows = Random(1), [(f"text number {i}, quoted", "xy"[i % 2]) for i in range(10)]
    objects = [dict(zip(("text", "label"), row)) for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(objects), tmp_path / "good.parquet")
    good = {".csv": "text,label\n" + "".join(f'"{a}",{b}\n' for a, b in rows), ".tsv": "text\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b in rows),
            ".jsonl": "".join(json.dumps(row) + "\n" for row in objects), ".json": json.dumps(objects)}
    good = good[ending].encode() if ending in good else (tmp_path / "good.parquet").read_bytes()
    for _ in range(300):
        data, at = bytearray(good), random.randrange(len(good))
        data[at : at + random.choice([0, 1, 20, len(good)])] = random.choice([b"", b"\0", b"\xff", b'"', b",", b"\n", b"\\ud800", b"NaN", b"[[", b"{"])
        try: table = read_file(write(tmp_path, "a" + ending, bytes(data)))
        except DataError: continue
        assert len(table.rows) == len(table.lines) and {len(row) for row in table.rows} == {len(table.columns)}


def test_arrow_without_rows_or_with_twin_columns(tmp_path):
    parquet.write_table(TABLE.slice(0, 0), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no rows"): read_file(tmp_path / "a.parquet")
    parquet.write_table(TABLE.select(["text", "label"]).rename_columns(["text", "text"]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="comes 2 times|cannot be read"): read_file(tmp_path / "b.parquet")


@pytest.mark.parametrize("paths, splits", [
    (["train.csv", "test.csv", "categories.json", "README.md"], {"train": ["train.csv"], "test": ["test.csv"]}),
    (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/validation-00000-of-00001.parquet"],
     {"train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], "valid": ["data/validation-00000-of-00001.parquet"]}),
    (["train/part-0.jsonl", "train/part-1.jsonl", "dev/part-0.jsonl"], {"train": ["train/part-0.jsonl", "train/part-1.jsonl"], "valid": ["dev/part-0.jsonl"]}),
    (["train/data-00000-of-00001.arrow", "train/state.json", "train/dataset_info.json", "dataset_dict.json"], {"train": ["train/data-00000-of-00001.arrow"]}),
    (["my_TRAIN_set.csv", "my_Test_set.csv"], {"train": ["my_TRAIN_set.csv"], "test": ["my_Test_set.csv"]}),
    (["latest.csv", ".hidden/train.csv"], {"all": ["latest.csv"]}),
])
def test_splits_by_name(paths, splits): assert split_files(paths, "here") == splits


@pytest.mark.parametrize("paths, part", [
    (["README.md"], "holds no data files"),
    (["a.csv", "b.csv", "notes.jsonl"], "several files could be the all split"),
    (["train.csv", "train.jsonl"], "several files could be the train split: train.csv, train.jsonl"),
    (["train-00000-of-00003.csv", "train-00002-of-00003.csv"], "2 of the 3 shards of train"),
])
def test_splits_that_cannot_be_told(paths, part):
    with pytest.raises(DataError, match=part): split_files(paths, "here")


def test_banking77_and_speed(tmp_path):
    shared = Path(__file__).parents[2] / "shared" / "data" / "banking77"
    if not shared.exists(): pytest.skip("the benchmark data is not beside the project")
    train, test = read_file(shared / "train.csv"), read_file(shared / "test.csv")
    assert (len(train.rows), len(test.rows)) == (10_003, 3_080) and len(set(train.column("category"))) == 77
    with open(shared / "train.csv", newline="", encoding="utf-8") as source: assert train.rows == [tuple(r) for r in csv.reader(source)][1:]
    with open(tmp_path / "big.csv", "w", newline="", encoding="utf-8") as target: csv.writer(target).writerows([train.columns, *train.rows * 10])
    start = time.perf_counter()
    assert len(read_file(tmp_path / "big.csv").rows) == 100_030
    assert time.perf_counter() - start < 10  # a fifth of a second on a quiet machine
