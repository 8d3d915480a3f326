"""``attnlab write`` prints what a writer writes, while it is written."""

import pytest
import torch

from attnlab.cli import main
from attnlab.language.model import LanguageModel
from attnlab.language.vocabulary import Characters
from attnlab.language.writer import Writer

PROMPT = "a fox"


@pytest.fixture(scope="module")
def writer():
    torch.manual_seed(0)
    tokens = Characters.train(["a fox saw a hen\n"], start=True)
    return Writer(LanguageModel(len(tokens), 16, 2, 1), tokens, block_length=8)


@pytest.fixture(scope="module")
def folder(writer, tmp_path_factory):
    return str(writer.save(tmp_path_factory.mktemp("writer")).parent)


def run(*arguments):
    try:
        main(["write", *arguments])
    except SystemExit as end:
        return end.code
    return 0


def test_the_text_and_what_comes_after_it_are_printed(writer, folder, capsys):
    options = {"temperature": 0.7, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "seed": 3}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert run(PROMPT, "--model", folder, "--max-new-tokens", "30", *flags) == 0
    assert capsys.readouterr().out == writer.write(PROMPT, 30, **options) + "\n"


def test_without_a_text_it_begins_one(writer, folder, capsys):
    assert run("--model", folder, "--max-new-tokens", "9", "--context", "4") == 0
    assert capsys.readouterr().out == writer.write("", 9, temperature=0.8, context=4) + "\n"


def test_each_piece_is_seen_before_the_next_is_drawn(folder, capsys, monkeypatch):
    seen = []

    def pieces(self, prompt, *counts, **options):
        for piece in ("-one", "-two"):
            seen.append(capsys.readouterr().out)
            yield piece
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "stream", pieces)
    assert run(PROMPT, "--model", folder) == 0
    assert seen == [PROMPT, "-one"]
    assert capsys.readouterr().out == "-two\n"


@pytest.mark.parametrize(
    ("flags", "cure"),
    [
        (["--temperature", "-1"], "greedy"),
        (["--top-k", "0"], "leave --top-k out"),
        (["--top-p", "0"], "--temperature 0"),
        (["--min-p", "3"], "from 0 to 1"),
        (["--model", "grim-tales"], "no language model"),
    ],
)
def test_what_cannot_be_is_said_in_the_words_of_the_command_line(folder, flags, cure, capsys):
    assert run(PROMPT, "--model", folder, *flags) == 1
    said = capsys.readouterr()
    assert cure in said.err
    assert said.out == ""
