"""People's own tables of labelled texts: what they hold is read as written, or refused by name."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab import datasets
from attnlab.errors import AttnlabError, AttnlabWarning, DataError, MissingPackage


def write(path, content, encoding="utf-8"):
    raw = content if isinstance(content, bytes) else content.encode(encoding)
    path.write_bytes(raw)
    return path


def read(folder, content, name="a.csv", **options):
    return datasets.from_csv(write(folder / name, content), **options)


def named(data):
    return [data.label_names[label] for label in data.labels]


@contextlib.contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", AttnlabWarning)
        yield


# ── every row that is there ────────────────────────────────────────────────────────────────────


def test_quotation_marks_are_text_where_tabs_separate(tmp_path):
    texts = ['"Great" film', 'A "must', 'He said "no', '"Never again', 'Dull" it is', "Fine", '"']
    labels = ["pos", "neg", "neg", "neg", "neg", "pos", "pos"]
    lines = [
        "text\tlabel",
        *(f"{text}\t{label}" for text, label in zip(texts, labels, strict=True)),
    ]
    for name, delimiter in (("a.tsv", None), ("a.csv", None), ("a.txt", "tab")):
        with no_warning():
            data = read(tmp_path, "\n".join(lines), name, delimiter=delimiter)
        assert data.texts == texts
        assert named(data) == labels


def test_quotes_around_cells_between_tabs_are_kept_and_pointed_at(tmp_path):
    with pytest.warns(AttnlabWarning, match="save the table as CSV"):
        data = read(tmp_path, 'text\tlabel\n"say ""hi"""\ta\nb\tb\n', "a.tsv")
    assert data.texts[0] == '"say ""hi"""'


def test_a_column_in_quotes_between_tabs_is_pointed_at(tmp_path):
    with pytest.warns(AttnlabWarning, match="save the table as CSV"):
        data = read(tmp_path, 'text\tlabel\na\t"x"\nb\t"y"\nc\t"x"\n', "a.tsv")
    assert data.label_names == ['"x"', '"y"']


def test_a_header_in_quotes_says_that_cells_are_quoted(tmp_path):
    content = '"text"\t"label"\n"a ""good"" one"\t"x"\n"tab\tinside"\t"y"\n'
    assert read(tmp_path, content, "a.tsv").texts == ['a "good" one', "tab\tinside"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('text,label\n"Great" film,pos\nb,neg\n', "in line 2 a quotation mark closes a cell"),
        ('text,label\na,pos\n"Great film,pos\nb,neg\n', "in line 3 opens a cell that is never"),
        ('text,label\n"Awful,neg\nFine,pos\nBad",neg\n', "lines 2 to 4 .*looks like a row: 'Awful"),
        ('text,label\na,"neg\nb,pos"\nc,neg\n', "label in lines 2 to 3"),
        ("text,label\na,pos\nb,c,neg\n", "Line 3 of a.csv has 3 cells, more fields"),
        ("text,label\na,pos\n\n\nb\n", "Line 5 of a.csv has 1 cell, fewer"),
        ("id,text,label\n1,broken\nin two,pos\n", "Line 2 of a.csv has 2 cells, fewer"),
        ('text,label\n"He said \\"no\\", twice",pos\n', "line 2"),
    ],
)
def test_csv_is_read_strictly_and_says_the_line(tmp_path, content, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, content)


def test_a_row_cut_in_two_is_left_out_whole(tmp_path):
    content = "id,text,label,note\n1,good,a,\n2,broken\nin two,pos,b,x\n3,bad,c,\n"
    with pytest.warns(AttnlabWarning, match="1 of 4 rows"):
        data = read(tmp_path, content, missing="drop")
    assert data.texts == ["good", "pos", "bad"]  # the third line is a row by its cells
    with pytest.raises(DataError, match="Line 3"):
        read(tmp_path, content)


def test_line_breaks_inside_quotes_are_kept_and_counted(tmp_path):
    content = 'text,label\n"one\n\ntwo, three",a\nb,b\n'
    with pytest.warns(AttnlabWarning, match=r"3 rows.*were read from 5 lines.*lines 2 to 4"):
        assert read(tmp_path, content).texts == ["one\n\ntwo, three", "b"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_line_ends_of_every_system_are_read(tmp_path, end, name):
    between = "," if name == "a.csv" else "\t"
    lines = [f"text{between}label", f"a\u2028b\x0b{between}x", f"c\x85{between}y", "", "  "]
    data = read(tmp_path, end.join(lines), name)
    assert data.texts == ["a\u2028b", "c"]
    assert named(data) == ["x", "y"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text('ab ",;\t\n|é“', max_size=8), min_size=2, max_size=6), st.sampled_from(",;|")
)
def test_what_pandas_writes_as_csv_is_read_back(tmp_path_factory, texts, delimiter):
    texts = [f"x{text}x" for text in texts]
    frame = pd.DataFrame({"text": texts, "label": [f"c{row % 2}" for row in range(len(texts))]})
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    frame.to_csv(path, sep=delimiter, index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttnlabWarning)
        data = datasets.from_csv(path)
    assert data.texts == texts
    assert named(data) == frame["label"].tolist()


def test_empty_columns_and_rows_of_a_spreadsheet_do_not_matter(tmp_path):
    data = read(tmp_path, "text,label,,\ngood,a,,\nbad,b,,\n,,,\nfine,a,,,,\n")
    assert data.texts == ["good", "bad", "fine"]
    data = read(tmp_path, "text,label,\ngood,a\nbad,b,\nfine,a,note\n")
    assert data.texts == ["good", "bad", "fine"]


def test_a_very_long_text_is_a_text(tmp_path):
    long = "word " * 60_000
    assert read(tmp_path, f"text,label\n{long},a\nb,b\n").texts == [long.strip(), "b"]


# ── labels and texts as they are written ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "gap",
    [
        "nan",
        "NaN",
        "NULL",
        "null",
        "N/A",
        "n/a",
        "#N/A",
        "None",
        "none",
        "NA",
        "<NA>",
        "NaT",
        "\\N",
    ],
)
def test_every_spelling_of_no_label_is_missing(tmp_path, gap):
    content = f"text,label\na,1.0\nb,0.0\nc,{gap}\n"
    with pytest.raises(DataError, match=r"no label.*row 3.*line 4.*missing='drop'"):
        read(tmp_path, content)
    with pytest.warns(AttnlabWarning, match="1 of 3 rows"):
        data = read(tmp_path, content, missing="drop")
    assert (data.texts, data.label_names) == (["a", "b"], ["0", "1"])
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": ["x", "y", gap]})
    with pytest.raises(DataError, match="no label"):
        datasets.from_frame(frame)
    with pytest.warns(AttnlabWarning, match="1 of 3 rows"):
        assert datasets.from_frame(frame, missing="drop").label_names == ["x", "y"]


@pytest.mark.parametrize("gap", [None, np.nan, float("nan"), pd.NA, pd.NaT, "", "  "])
@pytest.mark.parametrize("values", [["x", "y"], [0, 1], [0.0, 1.0]])
def test_pandas_own_gaps_are_missing(gap, values):
    for column in ("text", "label"):
        frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [*values, values[0]]}, dtype=object)
        frame.loc[2, column] = gap
        with pytest.raises(DataError, match="row 3"):
            datasets.from_frame(frame)
        with pytest.warns(AttnlabWarning, match="1 of 3 rows"):
            data = datasets.from_frame(frame, missing="drop")
        assert data.label_names == sorted(str(value).removesuffix(".0") for value in values)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "string", "category", "boolean"])
def test_columns_of_every_pandas_type_are_labels(dtype):
    values = {"string": ["u", "v"], "category": ["u", "v"], "boolean": [True, False]}.get(
        dtype, [1, 2]
    )
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.Series(values, dtype=dtype)})
    data = datasets.from_frame(frame)
    assert named(data) == [str(value) for value in values]


@pytest.mark.parametrize(
    "labels",
    [
        ["007", "012"],
        ["2020-01-01", "2021-01-01"],
        ["True", "False"],
        ["12345678901234567890", "12345678901234567891"],
        ["1e5", "2e5"],
        ["3,5", "4,5"],
        ["1st", "2nd"],
    ],
)
def test_labels_and_texts_stay_as_they_are_written(tmp_path, labels):
    lines = ["text;label", *(f"{label};{label}" for label in labels), "007;" + labels[0]]
    data = read(tmp_path, "\n".join(lines))
    assert data.texts == [*labels, "007"]
    assert named(data)[:2] == labels
    rows = [json.dumps({"text": label, "label": label}) for label in labels]
    assert named(read(tmp_path, "\n".join(rows), "a.jsonl")) == labels


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Good", "good"),
        ("very good", "very  good"),
        ("not-bad", "not_bad"),
        ("1", "1.0"),
        ("7", "007"),
        ("good", "go\u200bod"),
    ],
)
def test_labels_that_mean_the_same_stay_apart_and_are_pointed_at(tmp_path, one, other):
    content = f"text,label\na,{one}\nb,{other}\nc,{one}\nd,0\n"
    with pytest.warns(AttnlabWarning, match="differ only in case, spaces"):
        data = read(tmp_path, content)
    assert named(data) == [one, other, one, "0"]


def test_characters_that_were_lost_before_are_pointed_at(tmp_path):
    with pytest.warns(AttnlabWarning, match="1 signs"):
        assert read(tmp_path, "text,label\ncaf\ufffd,x\nb,y\n").texts == ["caf\ufffd", "b"]


def test_spaces_around_a_label_are_no_part_of_it(tmp_path):
    with no_warning():
        assert read(tmp_path, "text,label\na,pos \nb, pos\nc,neg\n").label_names == ["neg", "pos"]


def test_numbers_are_ordered_by_size_and_the_order_of_rows_does_not_matter(tmp_path):
    lines = ["a,10", "b,9", "c,-1", "d,9"]
    for order in (lines, lines[::-1]):
        data = read(tmp_path, "\n".join(["text,label", *order]))
        assert data.label_names == ["-1", "9", "10"]


def test_a_text_that_says_nan_is_a_text_and_pointed_at(tmp_path):
    with pytest.warns(AttnlabWarning, match="1 texts of a are 'NULL' and are kept"):
        assert read(tmp_path, "text,label\nNULL,a\nb,b\n").texts == ["NULL", "b"]


def test_texts_that_pandas_took_for_numbers_are_pointed_at():
    for values in ([7, 8], [7.0, 8.5], ["a", 7]):
        frame = pd.DataFrame({"text": values, "label": ["x", "y"]})
        with pytest.warns(AttnlabWarning, match="texts of own are numbers"):
            assert datasets.from_frame(frame).texts == [str(value) for value in values]
    with no_warning():
        datasets.from_frame(pd.DataFrame({"text": ["7", "8"], "label": [1, 2]}))


def test_labels_that_are_no_classes_are_pointed_at(tmp_path):
    lines = [f"text {row},other {row}" for row in range(40)]
    with pytest.warns(AttnlabWarning, match="40 different labels for 40 texts"):
        read(tmp_path, "\n".join(["text,label", *lines]))


@pytest.mark.parametrize("value", [["x", "y"], ("x",), {"x": 1}, {"x"}, np.array([0, 1]), b"x"])
def test_several_labels_in_a_cell_are_refused(value):
    frame = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}, dtype=object)
    frame["label"] = pd.Series(["x", value], dtype=object)
    with pytest.raises(DataError, match="'label' holds"):
        datasets.from_frame(frame)
    with pytest.raises(DataError, match="'text' holds"):
        datasets.from_frame(frame.rename(columns={"text": "label", "label": "text"}))


def test_columns_of_one_name_and_one_column_for_both_are_refused(tmp_path):
    with pytest.raises(DataError, match="2 columns named 'text'"):
        read(tmp_path, "text,label,text\na,x,b\n")
    frame = pd.DataFrame([["a", "x", "b"]], columns=["text", "label", "text"])
    with pytest.raises(DataError, match="2 columns named 'text'"):
        datasets.from_frame(frame)
    with pytest.raises(DataError, match="both the column 'text'"):
        read(tmp_path, "text,label\na,x\n", label="text")
    with pytest.raises(DataError, match="got list"):
        datasets.from_frame([("a", "x")])


# ── delimiters and formats ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["a.csv", "a.CSV", "a.tsv", "a.TSV", "a.txt", "a.tab", "a.dat", "a"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_recognised_whatever_the_file_is_called(tmp_path, name, delimiter):
    lines = [["review id", "text", "label"], ["1", "Fine: 3.5 stars", "x"], ["2", "Dull", "y"]]
    content = "\n".join(delimiter.join(line) for line in lines)
    for mark in ("", "\ufeff"):
        with no_warning():
            data = read(tmp_path, mark + content, name)
        assert (data.texts, named(data)) == (["Fine: 3.5 stars", "Dull"], ["x", "y"])
    with pytest.raises(DataError, match=r"no column 'comment'.*review id, text, label"):
        read(tmp_path, content, name, text="comment")


def test_decimal_commas_do_not_make_a_file_one_of_commas(tmp_path):
    data = read(tmp_path, "text;label\n3,5 Sterne, na ja;gut\nKurz, 1,0;schlecht\n")
    assert data.texts == ["3,5 Sterne, na ja", "Kurz, 1,0"]
    with pytest.raises(DataError, match="Did you mean 'label'"):
        read(tmp_path, "text;label\n3,5 Sterne;gut\n", label="labels")


def test_a_delimiter_can_be_named(tmp_path):
    for sign in ("~", " ~ ".strip(), ":"):
        assert read(tmp_path, f"text{sign}label\na{sign}x\n", delimiter=sign).texts == ["a"]
    assert read(tmp_path, "text\tlabel\na\tx\n", delimiter="\\t").texts == ["a"]
    assert read(tmp_path, "sep=;\r\ntext;label\r\na;x\r\n").texts == ["a"]
    for wrong in ("::", '"', ""):
        with pytest.raises(DataError, match="The delimiter is"):
            read(tmp_path, "text,label\na,x\n", delimiter=wrong)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_read_whatever_they_are_called(tmp_path, pack):
    packed = pack(b"text\tlabel\na\tx\n")
    for name in ("my.reviews.tsv.gz", "my.reviews.csv", "my.reviews.TSV.xz"):
        data = read(tmp_path, packed, name)
        assert (data.texts, data.name) == (["a"], "my.reviews")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read(tmp_path, packed[: len(packed) // 2], "a.tsv.gz")


def archive(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def test_a_zip_of_one_table_is_read(tmp_path):
    assert read(tmp_path, archive(**{"b.csv": "text,label\na,x\n"}), "a.zip").texts == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", archive(one="text,label\na,x\n", two=""), "holds 2 files .one, two."),
        ("a.xlsx", archive(xl__workbook="x"), "Excel workbook. Save it as 'CSV UTF-8'"),
        ("a.csv", archive(xl__workbook="x"), "Excel workbook"),
        ("a.docx", archive(**{"[Content_Types].xml": "x", "word__a": "x"}), "office document"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "older Office.*CSV UTF-8"),
        ("a.pdf", b"%PDF-1.7", "a PDF"),
        ("a.csv", b"PAR1", "ending .parquet"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.csv", "<!DOCTYPE html>\n<html>", "web page"),
        ("a.bin", bytes(range(256)), "not utf-8"),
        ("a.bin", b"text\0\0\1,label\0\n", "no text at all"),
        ("a.pkl", b"\x80\x04\x95", "pickle"),
        ("a.csv", "", "not a table.*empty"),
        ("a.csv", " \n\n", "not a table.*empty"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.csv", "text\na\nb\n", "no column 'label' in a.csv: its first line, 'text', is one"),
        ("a.csv", "good film,x\nbad film,y\n", "no column 'text'"),
        ("a.csv", "TEXT,Label\na,x\n", "Did you mean 'TEXT'"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "Line 2 of a.jsonl is no JSON"),
        ("a.jsonl", "[1, 2]", "Expected an object"),
        ("a.jsonl", "", "empty"),
        ("a.jsonl", '{"text": "a", "label": ["x", "y"]}', "'label' holds"),
        ("a.jsonl", '{"text": "a", "label": null}', "no label"),
        ("a.json", '{"data": []}', "empty"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, content, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, content, name)


def test_places_that_are_no_files_are_named(tmp_path, monkeypatch):
    for address in ("https://example.org/a.csv", "s3://bucket/a.csv", "file:///a.csv"):
        with pytest.raises(DataError, match="is an address"):
            datasets.from_csv(address)
    with pytest.raises(DataError, match="is a folder"):
        datasets.from_csv(tmp_path)
    for no_path in (None, pd.DataFrame(), io.StringIO("text,label\n")):
        with pytest.raises(DataError, match="Expected the path of a file"):
            datasets.from_csv(no_path)
    for no_path in ("text,label\na,x\n" * 400, "a\0b"):
        with pytest.raises(DataError, match=r"no path of a file|no file"):
            datasets.from_csv(no_path)
    with pytest.raises(DataError, match="no ordinary file"):
        datasets.from_csv("/dev/null")
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.csv", "text,label\na,x\n")
    assert len(datasets.from_csv("~/a.csv")) == 1


@pytest.mark.parametrize("as_list", [True, False])
def test_json_records_are_read(tmp_path, as_list):
    records = [
        {"text": 'A "good" one\n', "label": 1, "more": [1, 2]},
        {"label": 0, "text": "Bad, é"},
    ]
    content = json.dumps(records) if as_list else "\n".join(map(json.dumps, records)) + "\n"
    data = read(tmp_path, content, "a.JSON" if as_list else "a.jsonl")
    assert (data.texts, data.labels) == (['A "good" one', "Bad, é"], [1, 0])
    bools = [{"text": "a", "label": True}, {"text": "b", "label": False}]
    assert read(tmp_path, json.dumps(bools), "a.json").label_names == ["false", "true"]


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "values", "table"])
@pytest.mark.parametrize("indent", [None, 1])
def test_json_of_pandas_is_read_or_refused(tmp_path, orient, indent):
    frame = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]})
    content = frame.to_json(orient=orient, indent=indent)
    if orient in ("records", "columns"):
        data = read(tmp_path, content, "a.json")
        assert (data.texts, named(data)) == (["a", "b"], ["x", "y"])
        as_lists = json.dumps(frame.to_dict(orient="list"), indent=indent)
        assert read(tmp_path, as_lists, "a.json").texts == ["a", "b"]
    else:
        with pytest.raises(DataError, match=r"a.json|column"):
            read(tmp_path, content, "a.json")


def test_parquet_is_read_or_names_what_is_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", b"PAR1")
    frame = pd.DataFrame({"text": ["a", "b"], "label": [1.0, 0.0]})
    monkeypatch.setattr(pd, "read_parquet", lambda _: frame)
    assert datasets.from_csv(path).label_names == ["0", "1"]
    for error, kind, words in (
        (ImportError("no pyarrow"), MissingPackage, "pip install pyarrow"),
        (ValueError("broken\nmore"), DataError, r"cannot be read as Parquet \(broken\)"),
    ):

        def fail(_, error=error):
            raise error

        monkeypatch.setattr(pd, "read_parquet", fail)
        with pytest.raises(kind, match=words):
            datasets.from_csv(path)


# ── encodings ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
    ],
)
def test_another_encoding_is_refused_by_its_cure(tmp_path, name, written, named):
    between = "\t" if name == "a.tsv" else ","
    content = f"text{between}label\ncafé{between}x\nthé{between}y\n"
    if name == "a.jsonl":
        content = '{"text": "café", "label": "x"}\n{"text": "thé", "label": "y"}\n'
    path = write(tmp_path / name, content, written)
    with pytest.raises(DataError, match=f"encoding='{named}'"):
        datasets.from_csv(path)
    assert datasets.from_csv(path, encoding=named).texts == ["café", "thé"]


def test_utf8_read_as_something_else_is_doubted(tmp_path):
    content = "text,label\ncafé,x\n"
    with pytest.warns(AttnlabWarning, match="valid UTF-8"):
        assert read(tmp_path, content, encoding="cp1252").texts == ["cafÃ©"]
    with pytest.raises(DataError, match="it reads as UTF-8"):
        read(tmp_path, content + "\n", encoding="utf-16-le")
    for unknown in ("utf-99", "hex", None):
        with pytest.raises(DataError, match="no encoding"):
            read(tmp_path, content, encoding=unknown)


# ── parts that come as three files ─────────────────────────────────────────────────────────────


def test_parts_with_other_labels_are_matched_by_name_or_refused(tmp_path):
    train = read(tmp_path, "text,label\na,neg\nb,pos\nc,neutral\n")
    test = read(tmp_path, "text,label\nd,pos\ne,neg\n", "test.csv")
    assert test.labels_in(train.label_names) == [2, 0]
    other = read(tmp_path, "text,label\nd,positive\n", "other.csv")
    with pytest.raises(DataError, match="'positive' is not among them"):
        other.labels_in(train.label_names)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=80)
    | st.text('text,label\t;"\n\rab1.0é{}', max_size=80).map(str.encode)
    | st.text("12-. \t\nabO#B-I-X", max_size=80).map(str.encode),
    st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.txt"]),
    st.sampled_from([datasets.from_csv, datasets.pairs_from_file, datasets.from_conll]),
)
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, content, name, reader):
    path = write(tmp_path_factory.mktemp("any") / name, content)
    with warnings.catch_warnings(), contextlib.suppress(AttnlabError):
        warnings.simplefilter("ignore", AttnlabWarning)
        reader(path)
