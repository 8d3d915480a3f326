"""Commands that read data: every cure that an error names can be typed there."""

import ast
import gzip
import re
import shlex
import warnings
from pathlib import Path

import pytest
import typer

from attnlab import datasets
from attnlab.cli import app, main
from attnlab.cli.data import OwnFile, is_file
from attnlab.course import doctor

ROOT = Path(__file__).parents[1] / "attnlab"
READERS = {  # what is typed around a file
    "finetune": (["--out", "out"], []),
    "search": (["--out", "out"], []),
    "ablate": ([], ["--data"]),
    "export": (["movie-sentiment", "out"], ["--data"]),
    "budget": (["movie-sentiment", "--out", "out", "--flops", "50%"], ["--data"]),
    "compress": (["movie-sentiment", "--out", "out", "--layers", "0,2"], ["--data"]),
}
MEASURING = ("ablate", "export")
PYTHON = re.compile(r"\b[a-z_]+=|\bal\.|from_csv|from_frame|True\b|\bload\(")


def typed(capsys, monkeypatch, folder, command, file, *options):
    """What a command says to stderr, and its exit code, typed in this folder."""
    monkeypatch.chdir(folder)
    rest, before = READERS[command]
    with pytest.raises(SystemExit) as ended:
        main([command, *before, file, *rest, *options])
    return capsys.readouterr().err, ended.value.code


def options_of(command):
    found = typer.main.get_command(app).commands[command].params
    return {name for parameter in found for name in parameter.opts if name.startswith("--")}


BAD = {
    "cp1252.csv": "text,label\ncafé,x\n".encode("cp1252"),
    "utf16.csv": "text,label\ncafé,x\n".encode("utf-16"),
    "utf16le.tsv": "text\tlabel\ncafe\tx\n".encode("utf-16-le"),
    "nolabel.csv": b"text,label\na,x\nb,\n",
    "nan.csv": b"text,label\na,1.0\nb,nan\n",
    "notext.csv": b"text,label\n,x\nb,y\n",
    "short.csv": b"text,label\na,x\nb\n",
    "long.csv": b"text,label\na,x,y\n",
    "quotes.csv": b'text,label\n"a" b,x\n',
    "columns.csv": b"review,stars\na,1\n",
    "one.csv": b"text\na\n",
    "twice.csv": b"text,label,text\na,x,b\n",
    "header.csv": b"text,label\n",
    "empty.csv": b"",
    "decimals.csv": b"text,label\na,1.5\nb,2\n",
    "broken.csv.gz": gzip.compress(b"text,label\n")[:9],
    "a.xlsx": b"PK\x03\x04",
    "a.jsonl": b"{",
    "a.parquet": b"PAR1",
    "binary.bin": bytes(range(256)),
    "few.csv": b"text,label\na,x\nb,y\n",
    "alone.csv": b"text,label\n" + b"".join(b"a%d,x\n" % row for row in range(40)),
}


@pytest.mark.parametrize("command", list(READERS))
def test_errors_name_only_what_can_be_typed(capsys, monkeypatch, tmp_path, command):
    for name, content in BAD.items():
        (tmp_path / name).write_bytes(content)
    others = ["none.csv", "https://example.org/a.csv", ".", "movie-sentimant", "interface-fr"]
    for name in [*BAD, *others]:
        if command in MEASURING and name in ("few.csv", "alone.csv"):
            continue  # nothing is wrong there with texts that are only measured
        said, code = typed(capsys, monkeypatch, tmp_path, command, name)
        assert code == 1, name
        assert "Traceback" not in said
        assert not PYTHON.search(said), said
        assert {*re.findall(r"--[a-z-]+", said)} <= options_of(command), said


CURES = [
    ("cp1252.csv", "--encoding cp1252", {"encoding": "cp1252"}),
    ("utf16.csv", "--encoding utf-16", {"encoding": "utf-16"}),
    ("utf16le.tsv", "--encoding utf-16-le", {"encoding": "utf-16-le"}),
    ("nolabel.csv", "--drop-missing", {"drop_missing": True}),
    ("nan.csv", "--drop-missing", {"drop_missing": True}),
    ("short.csv", "--drop-missing", {"drop_missing": True}),
    ("columns.csv", "--text", {"text": "review", "label": "stars"}),
]


@pytest.mark.parametrize(("name", "cure", "given"), CURES)
def test_the_cure_is_named_and_works(capsys, monkeypatch, tmp_path, name, cure, given):
    (tmp_path / name).write_bytes(BAD[name])
    own = OwnFile(**given)
    for command in READERS:
        said, _ = typed(capsys, monkeypatch, tmp_path, command, name)
        assert cure in said
        options = shlex.split(" ".join(own.options()))
        said, _ = typed(capsys, monkeypatch, tmp_path, command, "none.csv", *options)
        assert "no file none.csv" in said  # the command takes what is to be typed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(own.texts(str(tmp_path / name)))


def test_what_needs_no_fetching_says_so_without_python(capsys):
    with pytest.raises(SystemExit):
        main(["fetch", "dates"])
    said = capsys.readouterr().err
    assert "needs no fetching" in said
    assert not PYTHON.search(said)


def test_what_is_large_and_seldom_needed_is_fetched_only_when_named(monkeypatch):
    brought = []
    monkeypatch.setattr(datasets, "fetch", brought.append)
    seldom = ["icons", "films", "appliances"]
    for typed_names in ([], [*seldom, "mnist-5k"]):
        with pytest.raises(SystemExit) as ended:
            main(["fetch", *typed_names])
        assert ended.value.code == 0
    of_file = {datasets.source(name).file for name in datasets.names()}
    assert {datasets.source(name).file for name in brought[:-4]} == of_file - {
        datasets.source(name).file for name in seldom
    }
    assert brought[-4:] == [*seldom, "mnist-5k"]
    monkeypatch.setattr(datasets, "is_cached", lambda name: name == "movie-sentiment")
    (finding,) = doctor._data()
    assert "mnist-5k" in finding.cure
    assert not any(name in finding.cure for name in seldom)


def test_every_reading_command_has_every_option_of_a_file():
    wanted = {"--text", "--label", "--encoding", "--delimiter", "--drop-missing"}
    for command in READERS:
        assert wanted <= options_of(command)


def test_names_are_told_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews").write_text("text,label\na,x\n")
    for path in ("reviews", "a.csv", "data/reviews", "https://example.org/a", "."):
        assert is_file(path)
    for name in ("movie-sentiment", "movie-sentimant", "dates", "digits", "icons"):
        assert not is_file(name)


def test_a_warning_is_a_message_too(capsys, monkeypatch, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,X\n")
    said, _ = typed(capsys, monkeypatch, tmp_path, "finetune", "a.csv")
    assert "AttnlabWarning: a has labels that differ only in case" in said
    assert "warnings.warn" not in said


def messages(path):
    """Texts of errors and warnings in a module, without those that `worded` and `option` choose."""

    def texts(node):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("worded", "option"):
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        for child in ast.iter_child_nodes(node):
            yield from texts(child)

    for node in ast.walk(ast.parse(path.read_text())):
        name = getattr(getattr(node, "func", None), "id", "")
        warned = ast.unparse(node.func) == "warnings.warn" if isinstance(node, ast.Call) else False
        if name in ("DataError", "ModelError", "AttnlabError", "_refuse_rows") or warned:
            yield "".join(texts(node))


@pytest.mark.parametrize(
    "module", ["reading", "tables", "records", "labels", "own_files", "texts", "splits", "fetching"]
)
def test_no_message_of_reading_speaks_python_alone(module):
    for message in messages(ROOT / "datasets" / f"{module}.py"):
        assert not PYTHON.search(message.replace("dev= and test=", "")), message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "scale"], "--method scale needs a value .* --value 0.5"),
        (["--method", "zero", "--value", "2"], "--method zero has no use for --value 2.0"),
        (["--method", "zeor"], "Did you mean 'zero'"),
        (["--target", "haed"], "Did you mean 'head'"),
    ],
)
def test_options_that_do_not_go_together_are_named_as_options(
    capsys, monkeypatch, tmp_path, options, words
):
    content = "text,label\na joy,positive\ndull,negative\n"
    (tmp_path / "a.csv").write_text(content)
    said, code = typed(capsys, monkeypatch, tmp_path, "ablate", "a.csv", *options)
    assert code == 1
    assert re.search(words, said)
    assert not PYTHON.search(said), said
